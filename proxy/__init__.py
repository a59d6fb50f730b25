"""The SIP proxy: the protocol and the core without input or output, and the processes, sockets and commands around them."""
