"""The SIP proxy: the protocol and the core without input or output, and the processes, sockets and commands around them."""

import os

if "SIPWARDEN_PURE" in os.environ:
    import rules.sources  # noqa: F401  (before any module of ours: it sees to it that none is read compiled)
