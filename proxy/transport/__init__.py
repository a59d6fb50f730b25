"""Sockets: everything between the kernel and the core's `(flow, bytes)`."""
