"""Traces of what was on the wire, read again: files in, SIP messages out, and what a policy says of them."""
