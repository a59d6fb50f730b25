"""`sipwarden demo`: a node with the real core, transports and policy, and peers that speak SIP to it, all on loopback in one process.

`config/` holds the node's files as an operator would write them, `scenario.toml` the calls.
"""
