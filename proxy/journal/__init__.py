"""The journal: what happened to every call, in checksummed frames, sealed and signed (records.md).

A worker puts its events into a ring of shared memory (`ring`) before the responses of their batch leave: a store, no system call, so that
neither a slow nor a full disk reaches signalling, and a killed worker leaves behind everything that it had answered. One keeper process
(`keeper`) moves frames from the rings to the open segment, flushes it, seals it when it is full or old, and signs each seal (`chain`).
"""
