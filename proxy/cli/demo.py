"""`sipwarden demo`: real calls through a proxy on loopback, each with its verdict."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.live import Live
from rich.text import Text

from proxy.cli.terminal import ACTION_STYLE, console, printable
from proxy.demo.network import Network, PlayedCall
from proxy.demo.scenario import Scenario, packaged_scenario
from proxy.demo.table import calls_table, reason, total
from proxy.report import verdict_json, write_json
from rules.call import Call
from rules.verdict import Verdict

ROW: Final = 5
"""Lines of a terminal that one call may take in the table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--no-wait", action="store_true", help="end after the calls instead of waiting for yours")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 where every call was as expected, 1 where one was not."""
    return demonstrate(packaged_scenario(), wait=not args.no_wait, json=args.json)


def demonstrate(scenario: Scenario, *, wait: bool, json: bool) -> int:
    """Play a scenario; the exit status."""
    try:
        with TemporaryDirectory(prefix="sipwarden-demo-") as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_demonstrate(Network(scenario, Path(folder)), wait=wait, json=json))
    except OSError as error:
        print(f"sipwarden demo: {error.strerror or error}; it needs the loopback addresses 127.0.0.1 to 127.0.0.6", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def _demonstrate(network: Network, *, wait: bool, json: bool) -> int:
    out = console()
    try:
        await network.open()
        began = perf_counter()
        calls = await _play(network, out, silent=json)
        seconds = perf_counter() - began
        good = not any(played.faults for played in calls)
        if json:
            write_json({"calls": [_call_json(played) for played in calls], "ok": good})
        else:
            out.print(total(calls, seconds))
        if wait:
            await _wait(network, console(stderr=True) if json else out)
    finally:
        await network.close()
    return 0 if good else 1


async def _play(network: Network, out: Console, *, silent: bool) -> list[PlayedCall]:
    """Make the calls; on a terminal the table grows as they are made."""
    calls: list[PlayedCall] = []
    live = None if silent or not out.is_terminal else Live(console=out, auto_refresh=False)
    with live or nullcontext():
        for plan in network.scenario.call:
            calls.append(await network.play(plan))
            if live is not None:  # as many as are sure to fit; all of them once they are made
                first = 0 if len(calls) == len(network.scenario.call) else max(0, len(calls) - out.height // ROW)
                live.update(calls_table(calls, out.width, first), refresh=True)
    if not silent and live is None:
        out.print(calls_table(calls, out.width))
    return calls


def _call_json(played: PlayedCall) -> dict[str, Any]:
    verdict = verdict_json(played.verdict) if played.verdict is not None else {}
    return verdict | {
        "expected": msgspec.structs.asdict(played.plan.expect),
        "status": played.ending.status,
        "ms": round(played.ending.seconds * 1000, 1),
    }


# afterwards


async def _wait(network: Network, out: Console) -> None:
    """Stay for calls from elsewhere on this machine until Ctrl-C, and tell the verdict on each."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    message = network.config.parent / "call.sip"
    message.write_bytes(_sample(network))
    out.print(_invitation(network, message), soft_wrap=True)
    network.stranger = lambda verdict, call: out.print(_line(verdict, call), soft_wrap=True)
    await over.wait()


def _invitation(network: Network, message: Path) -> Text:
    host, port = network.proxy.address, network.proxy.port
    config = network.config
    return Text.assemble(
        ("\nThe proxy listens on ", "bold"),
        (f"udp and tcp {host}:{port}", "bold cyan"),
        (" until Ctrl-C. Whatever this machine sends it is a call on trunk acme-sz:\n", "bold"),
        f"  sed s/sample/$RANDOM/ {message} > /dev/udp/{host}/{port}      (in bash; change the number in From and see)\n",
        f"  sipsak -vv -f {message} -s sip:+8675526661003@{host}:{port}\n",
        f"  or any softphone, with {host}:{port} as its outbound proxy and a number from +8675583123400 to +8675583123499\n",
        ("Why a call fares as it does:\n", "bold"),
        f"  sipwarden explain -c {config} --trunk acme-sz --from +8675588886666 --to +8675526661001\n",
        f"  sipwarden explain -c {config} --source 127.0.0.2 --sip {message}\n",
    )


def _line(verdict: Verdict, call: Call) -> Text:
    """One call from elsewhere."""
    text = Text.assemble((verdict.action.upper(), ACTION_STYLE[verdict.action]), f"  {printable(str(call.source))} on {verdict.trunk}: ")
    text.append(f"{verdict.caller or printable(call.caller.raw)} → {verdict.called or printable(call.called.raw)}  ")
    said = reason(verdict, chinese=True)
    return text.append_text(Text("  ").join(said.split("\n")))


def _sample(network: Network) -> bytes:
    """An INVITE to play with."""
    host, port = network.proxy.address, network.proxy.port
    lines = [
        f"INVITE sip:+8675526661003@{host}:{port} SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKsample;rport",
        "Max-Forwards: 70",
        "From: <sip:+8675583123456@127.0.0.1>;tag=sample",
        f"To: <sip:+8675526661003@{host}>",
        "Call-ID: sample",
        "CSeq: 1 INVITE",
        "Contact: <sip:127.0.0.1:5099>",
        "Content-Length: 0",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
