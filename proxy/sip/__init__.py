"""SIP as RFC 3261 has it, without a socket: messages, URIs, Via, responses, stream framing, transactions, timers."""
