"""Lines of text dumps that say where and when the message below them was seen, as the programs write them that engineers use.

ngrep -W byline, sngrep and Homer (saved as text), tcpdump -A, SIPp -trace_msg, Asterisk (pjsip and sip debug), FreeSWITCH (siptrace),
Kamailio (sipdump). A time without a date is seconds since midnight; one without a zone is in the zone that the reader was given.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from ipaddress import ip_address
from typing import Final

_DATE: Final = rb"(?P<date>\d{4}[-/]\d\d[-/]\d\d)[ T](?P<clock>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})?\d*(?P<zone> ?[+-]\d\d:?\d\d|Z)?"
_TIME: Final = re.compile(
    rb"[\[( ]*(?:" + _DATE + rb"|(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<part>\.\d{1,9})?"
    rb"|(?P<unix>\d{9,10}\.\d{1,9}))(?!\d)"
)
_ARROW: Final = re.compile(rb"[ \t:]*(?:IP6? +)?(?:\([^)]*\) *)?(?P<source>\S{3,60}) +(?P<arrow>-{1,5}>|=>|>) +(?P<destination>\S{3,60})")
_NGREP: Final = re.compile(rb"(?P<transport>[UT])(?:\(\d+\))? +(?=[\d:a-fA-F])")
_PROTO: Final = re.compile(rb"proto:(?P<transport>[A-Za-z]+) +")
_SIPP: Final = re.compile(rb"(?P<transport>UDP|TCP|TLS|SCTP|WS) message (?:sent|received) [\[(]\d+\]? bytes")
_ASTERISK: Final = re.compile(
    rb"<--- (?:(?P<received>Received|SIP read)|Transmitting|Sent) (?:[^<>]{0,80} )?(?:from|to)"
    rb" (?P<transport>UDP|TCP|TLS|WSS?):(?P<peer>\S+) --->",
    re.IGNORECASE,
)
_ASTERISK_SENDS: Final = re.compile(rb"(?:Ret|T)ransmitting (?:#\d+ )?(?:\([^)]*\) )?to (?P<peer>\S+):\s*$")
_FREESWITCH: Final = re.compile(
    rb"(?P<way>recv|send) \d+ bytes (?:from|to) (?P<transport>udp|tcp|tls|wss?)/\[?(?P<host>[^\]/ ]{2,45}?)\]?:(?P<port>\d{1,5})(?![\d\]])"
    rb"(?: at (?P<when>[\d:. -]+))?"
)
_FIELD: Final = re.compile(rb"(?P<name>time|proto|srcip|srcport|dstip|dstport): *(?P<value>\S+)")
_LIKELY: Final = re.compile(
    rb"[ \t]*(?:[UT](?:\(\d+\))? |proto:|[\[(]?\d\d:\d\d:\d\d|[\[(]?\d{4}[-/]\d\d[-/]\d\d|\d{9,10}\.\d|<--- |\[|recv \d|send \d|-{20,} \d"
    rb"|[A-Z]{2,4} message |Reliably|Transmitting|Retransmitting|(?:time|proto|srcip|srcport|dstip|dstport): "
    rb"|[\da-fA-F:.\[\]]{3,60} +(?:>|-+>|=>) )"
)
_TRANSPORTS: Final = {b"u": "udp", b"t": "tcp"}
_KNOWN: Final = frozenset(("udp", "tcp", "tls", "sctp", "ws", "wss"))


def endpoint(text: bytes) -> tuple[str, int] | None:
    """Address and port of 192.0.2.1:5060, [2001:db8::1]:5060, 2001:db8::1:5060, or tcpdump's 192.0.2.1.5060; None when it is neither."""
    words = text.decode("ascii", "replace").rstrip(":,")
    for separator in ":.":
        host, found, port = words.rpartition(separator)
        if found and port.isdecimal() and port.isascii() and len(port) < 6 and int(port) < 65536:
            try:
                return str(ip_address(host.strip("[]"))), int(port)
            except ValueError:
                continue
    return None


class Mark:
    """What is known of the next message in a dump."""

    __slots__ = ("at", "destination", "destination_port", "dots", "garbled", "source", "source_port", "transport")

    def __init__(self) -> None:
        self.at = 0.0
        self.forget()

    def forget(self) -> None:
        """Another message begins, of which nothing is known but that it is no older."""
        self.source = self.destination = ""
        self.source_port = self.destination_port = 0
        self.transport = "udp"
        # ngrep writes a dot for each byte that cannot be printed: every line ends in the one for its CR.
        self.dots = False
        # tcpdump -A writes the packet's headers as if they were text, and the start line behind them.
        self.garbled = False

    def read(self, line: bytes, zone: tzinfo) -> bool:
        """Take in what a line says; False when it is no such line."""
        if not _LIKELY.match(line):
            return False
        return self._peers(line, zone) or self._program(line, zone) or self._time_only(line, zone)

    def _peers(self, line: bytes, zone: tzinfo) -> bool:
        """A line with time, source, arrow and destination."""
        start = 0
        transport = "udp"
        dots = False
        if (found := _NGREP.match(line)) or (found := _PROTO.match(line)):
            letter = found["transport"].lower()
            transport = _TRANSPORTS.get(letter, letter.decode())
            dots = found.re is _NGREP
            start = found.end()
        time = _TIME.match(line, start)
        arrow = _ARROW.match(line, time.end() if time else start)
        if arrow is None:
            return False
        source, destination = endpoint(arrow["source"]), endpoint(arrow["destination"])
        if source is None or destination is None:
            return False
        self.forget()
        if time:
            self.at = _moment(time, zone)
        self.source, self.source_port = source
        self.destination, self.destination_port = destination
        self.transport = transport if transport in _KNOWN else "udp"
        self.dots = dots
        if arrow["arrow"] == b">":
            self.garbled = True
            if b": Flags [" in line:
                self.transport = "tcp"
        return True

    def _program(self, line: bytes, zone: tzinfo) -> bool:
        """A line of SIPp, Asterisk, FreeSWITCH or Kamailio."""
        if found := _SIPP.match(line):
            self.forget()
            self.transport = found["transport"].lower().decode()
            return True
        if found := _FIELD.match(line):
            self._field(found["name"], found["value"])
            return True
        time = _TIME.match(line)
        if found := _ASTERISK.search(line):
            peer, received, transport = endpoint(found["peer"]), bool(found["received"]), found["transport"]
        elif found := _ASTERISK_SENDS.search(line):
            peer, received, transport = endpoint(found["peer"]), False, b"udp"
        elif found := _FREESWITCH.search(line):
            peer, received, transport = endpoint(found["host"] + b":" + found["port"]), found["way"] == b"recv", found["transport"]
            time = _TIME.match(found["when"] or b"") or time
        else:
            return False
        self.forget()
        self.transport = transport.lower().decode()
        if time:
            self.at = _moment(time, zone)
        if peer is not None and received:
            self.source, self.source_port = peer
        elif peer is not None:
            self.destination, self.destination_port = peer
        return True

    def _field(self, name: bytes, value: bytes) -> None:
        """A line of Kamailio's sipdump."""
        words = value.decode("ascii", "replace")
        if name == b"proto":
            self.transport = words.lower() if words.lower() in _KNOWN else "udp"
        elif name == b"time":
            self.forget()
            time = _TIME.match(value)
            self.at = float(time["unix"]) if time and time["unix"] else 0.0
        elif name in (b"srcport", b"dstport"):
            port = int(words) if words.isascii() and words.isdecimal() and len(words) < 6 else 0
            if name == b"srcport":
                self.source_port = port & 0xFFFF
            else:
                self.destination_port = port & 0xFFFF
        else:
            try:
                host = str(ip_address(words.strip("[]")))
            except ValueError:
                host = ""
            if name == b"srcip":
                self.source = host
            else:
                self.destination = host

    def _time_only(self, line: bytes, zone: tzinfo) -> bool:
        """A line that begins with a time (SIPp's ruler, tcpdump -v, a log): it is that of what follows."""
        time = _TIME.match(line.lstrip(b"- \t"))
        if time is None:
            return False
        self.forget()
        self.at = _moment(time, zone)
        return True


def _moment(time: re.Match[bytes], zone: tzinfo) -> float:
    """Unix time; 0.0 for one that is none (month 13)."""
    if time["unix"]:
        return float(time["unix"])
    if time["hour"]:
        return int(time["hour"]) * 3600 + int(time["minute"]) * 60 + int(time["second"]) + float(time["part"] or 0)
    written = f"{time['date'].decode().replace('/', '-')}T{time['clock'].decode()}{(time['zone'] or b'').decode().strip()}"
    try:
        moment = datetime.fromisoformat(written)
        at = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(at + float(time["fraction"] or 0), 0.0)
