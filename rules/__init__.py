"""Decisions on calls: no SIP syntax, no event loop, no socket, no clock."""
