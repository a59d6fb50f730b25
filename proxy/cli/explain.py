"""`sipwarden explain`: judge one call as the node would, and show what each rule said of it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.saved import UnusableMessage, read_invite
from proxy.cli.terminal import ACTION_STYLE, console, explained, facts, in_words, printable
from proxy.config import CERTIFICATE, LookupConfig
from proxy.config.addresses import SIP_PORT, parse_address, split_port
from proxy.decision import DecisionRequest, Judge, WrongRequest
from proxy.generation import Faults, Generation
from proxy.intake import asserted, call_of
from proxy.lookup import NoAnswer
from proxy.redirect import final_answer
from proxy.report import verdict_json, write_json
from proxy.routing import Routing
from rules.call import NO_TRUNK, Call, Source, Trunk
from rules.profile import REDIRECT
from rules.verdict import Lookup, Verdict

OUTCOME_STYLE: Final = {
    "reject": "bold red",
    "redirect": "bold red",
    "drop": "bold red",
    "pass": "bold green",
    "ok": "green",
    "mark": "yellow",
    "observed reject": "yellow",
    "failed": "bold magenta",
}
"""How the outcome of a step looks; one that is not named here decided nothing."""


class WrongUsage(Exception):
    """What was asked makes no sense; says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "%(prog)s -c FILE --trunk ID --from N --to N [--pai N ...] [--diversion N ...] [--history-info V ...]\n"
        "       [--privacy id] [--customer ID] [--at ISO8601] [--json]\n"
        "       %(prog)s -c FILE --source IP[:PORT] --sip MESSAGE.sip [--at ISO8601] [--json]"
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")
    call = parser.add_argument_group("a call described by its numbers")
    call.add_argument("--trunk", metavar="ID", help="the trunk that it arrives on")
    call.add_argument("--from", dest="sender", metavar="N", help="From: a number or URI")
    call.add_argument("--to", metavar="N", help="the called number or URI")
    call.add_argument("--pai", nargs="+", action="extend", metavar="N", help="P-Asserted-Identity")
    call.add_argument("--diversion", nargs="+", action="extend", metavar="N", help="Diversion, the latest first")
    call.add_argument(
        "--history-info",
        nargs="+",
        action="extend",
        metavar="V",
        help="History-Info as it stands in a message: '<sip:N@h;cause=302>;index=1.1'",
    )
    call.add_argument("--privacy", nargs="+", action="extend", metavar="VALUE", help="Privacy: id, header, user")
    call.add_argument("--customer", metavar="ID", help="what the trunk's customer_header says, where customers share the trunk")
    message = parser.add_argument_group("a call described by its INVITE")
    message.add_argument("--source", type=_source, metavar="IP[:PORT]", help=f"where it arrives from; without a port {SIP_PORT}")
    message.add_argument("--sip", type=Path, metavar="MESSAGE.sip", help="a file with the one message")
    parser.add_argument("--at", type=_moment, metavar="ISO8601", help="when, without a zone in the node's time_zone; default: now")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 whatever the verdict, 1 where the configuration has faults, 2 for wrong usage and for what is no INVITE."""
    try:
        _check_form(args)
        judge = Judge.load(args.config)
        generation, routing = judge.generation, judge.routing
        call = _described(args, judge) if args.sip is None else _saved(args, generation, routing)
    except Faults as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 1
    except (WrongUsage, UnusableMessage) as error:
        print(f"sipwarden explain: {error}", file=sys.stderr)
        return 2
    services = Services(generation)
    started = perf_counter()
    verdict = generation.ruleset.explain(call, services.answer)
    verdict.elapsed_us = (perf_counter() - started - services.seconds) * 1e6
    if services.seconds and args.at is not None:
        print("note: look-up services know nothing of another time: what they said holds for now.", file=sys.stderr)
    if args.json:
        write_json(verdict_json(verdict))
    else:
        show(console(), verdict, call, generation, routing)
    return 0


class Services:
    """Answers the Lookups of an explanation by asking the node's services, for real and within their deadlines. `seconds` went by."""

    def __init__(self, generation: Generation) -> None:
        self._lookups = {lookup.kind: lookup for lookup in generation.config.lookup}
        self._certificates = generation.config.certificates
        self._ca = generation.ca
        self.seconds = 0.0

    def answer(self, lookup: Lookup) -> object:
        """The answer, None without one; why there is none goes to standard error."""
        config = self._lookups.get(lookup.kind)
        if config is None and lookup.kind != CERTIFICATE:
            print(f"note: no [[lookup]] of kind {lookup.kind!r} is configured: no answer.", file=sys.stderr)
            return None
        started = perf_counter()
        try:
            return asyncio.run(self._ask(config, lookup.key))
        except NoAnswer as error:
            print(f"note: look-up {lookup.kind} of {lookup.key} had no answer: {error}.", file=sys.stderr)
            return None
        finally:
            self.seconds += perf_counter() - started

    async def _ask(self, config: LookupConfig | None, key: str) -> object:
        if config is None:
            from proxy.lookup.certificates import fetch_once

            return await fetch_once(self._certificates, self._ca, key)
        from proxy.lookup.http import ask_once

        return await ask_once(config, key)


# what is judged


def _check_form(args: argparse.Namespace) -> None:
    described = {"--trunk": args.trunk, "--from": args.sender, "--to": args.to}
    extras = {
        "--pai": args.pai,
        "--diversion": args.diversion,
        "--history-info": args.history_info,
        "--privacy": args.privacy,
        "--customer": args.customer,
    }
    saved = {"--source": args.source, "--sip": args.sip}
    if any(value is not None for value in saved.values()):
        wrong = [name for name, value in (described | extras).items() if value is not None]
        if wrong:
            raise WrongUsage(f"{', '.join(wrong)}: the message itself says that; give --source and --sip only")
        described = saved
    absent = [name for name, value in described.items() if value is None]
    if len(absent) == 3:
        raise WrongUsage("give --trunk, --from and --to, or --source and --sip")
    if absent:
        raise WrongUsage(f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing")


def _described(args: argparse.Namespace, judge: Judge) -> Call:
    trunks = judge.routing.trunks
    if args.trunk not in trunks:
        raise WrongUsage(f"no trunk is called {args.trunk!r}; there are: {', '.join(trunks)}")
    if args.customer is not None and trunks[args.trunk].customer_header is None:
        raise WrongUsage(f"--customer: trunk {args.trunk} has no customer_header, so it does not say whose call it is")
    request = DecisionRequest(
        trunk=args.trunk,
        sender=args.sender,
        to=args.to,
        at=_when(args, judge.generation),
        pai=tuple(args.pai or ()),
        diversion=tuple(args.diversion or ()),
        history_info=tuple(args.history_info or ()),
        privacy=";".join(args.privacy or ()),
        customer=args.customer,
    )
    try:
        return judge.call(request)
    except WrongRequest as error:
        option = error.key.partition("[")[0].replace("_", "-")
        raise WrongUsage(f"--{option}: {error.message}") from None


def _saved(args: argparse.Namespace, generation: Generation, routing: Routing) -> Call:
    address, port = args.source
    request = read_invite(args.sip, address, port, routing)
    trunk = routing.resolve(address, port).trunk or NO_TRUNK
    if request.to_tag:
        print(
            "note: To has a tag, so this INVITE belongs to a call that stands: the node judges it only if its identity is a new one.",
            file=sys.stderr,
        )
    return call_of(request, trunk, request.flow.source, asserted(request, trunk), _when(args, generation))


# what is shown


def show(out: Console, verdict: Verdict, call: Call, generation: Generation, routing: Routing) -> None:
    """Print a verdict and what each rule said, for people."""
    out.print(_headline(verdict))
    out.print(explained(verdict.code, ACTION_STYLE[verdict.action], basis=True, codes=generation.ruleset.codes))
    out.print()
    out.print(_facts(verdict, call, generation, routing))
    out.print()
    out.print(_steps(verdict, generation))


def _headline(verdict: Verdict) -> Text:
    line = Text.assemble((f" {verdict.action.upper()} ", f"{ACTION_STYLE[verdict.action]} reverse"))  # no style for what follows
    if verdict.status is not None:
        line.append(f"  {verdict.status} {verdict.phrase}", "bold")
        if verdict.reason:
            line.append(f"  (Reason: {verdict.reason})", "dim")
        if verdict.call_info:
            line.append(f"  (Call-Info: {verdict.call_info})", "dim")
        if verdict.action == "redirect" and verdict.labels:
            line.append(f"  (Contact: <{verdict.labels['redirect_to']}>)", "dim")
    elif verdict.action == "drop":
        line.append("  no answer", "bold")
    line.append(f"  by rule {verdict.rule}" if verdict.rule else "  no rule rejects it")
    if verdict.would is not None:
        would = verdict.would
        line.append(f"  observed only: would {would.action} with {would.code} by rule {would.rule}", "yellow")
        if verdict.observed is not None and len(verdict.observed) > 1:
            line.append(f", then {', '.join(f'{other.code} by {other.rule}' for other in verdict.observed[1:])}", "yellow")
    return line


def _facts(verdict: Verdict, call: Call, generation: Generation, routing: Routing) -> Table:
    grid = facts()
    grid.add_row("trunk", _trunk(call.trunk, call.source))
    if call.told:
        grid.add_row("customer", Text(printable(call.told), "" if call.customer else "red"))
    grid.add_row("from", _written(call.sender, call.from_number.canonical))
    for number in call.pai_numbers:
        grid.add_row("asserted", _written(number.raw, number.canonical))
    grid.add_row("called", _written(call.to, call.called.canonical))
    for uri in call.diversion:
        grid.add_row("diversion", printable(uri))
    for step in call.history_info:
        grid.add_row("history", Text.assemble(printable(step.uri), f"  cause {step.cause}" if step.cause is not None else ""))
    if call.privacy:
        grid.add_row("privacy", printable("; ".join(call.privacy)))
    grid.add_row("at", datetime.fromtimestamp(call.at, generation.directory.zone).isoformat(" ", "seconds"))
    if verdict.action == "pass":
        grid.add_row("goes to", _destination(verdict, call, generation, routing))
    for place, would in enumerate(verdict.observed or ()):
        words = in_words(would.code, generation.ruleset.codes)
        grid.add_row("observed" if not place else "", Text.assemble((would.code, "yellow"), f"  {words.en} {words.zh}"))
    for place, code in enumerate(verdict.marks):
        words = in_words(code, generation.ruleset.codes)
        grid.add_row("marks" if not place else "", Text.assemble((code, "yellow"), f"  {words.en} {words.zh}"))
    for place, (name, value) in enumerate((verdict.labels or {}).items()):
        grid.add_row("labels" if not place else "", printable(f"{name}  {_plainly(value)}"))
    grid.add_row("policy", f"{verdict.policy_version}, directory {verdict.directory_version}")
    return grid


def _plainly(value: object) -> str:
    """A label's value; one that is made of others names each."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plainly(inner)}" for name, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _trunk(trunk: Trunk, source: Source | None) -> Text:
    text = Text.assemble(("none" if trunk is NO_TRUNK else trunk.id, "bold"))
    if trunk is not NO_TRUNK:
        text.append(f"  {trunk.kind}{f' of {trunk.customer}' if trunk.customer else ''}, {trunk.mode}", "")
    if trunk.suspended:
        text.append(", suspended", "red")
    if source is not None:
        text.append(f"  from {source}")
    return text


def _written(uri: str, canonical: str | None) -> Text:
    if canonical is None:
        return Text.assemble(printable(uri) or "nothing", ("  no number of the plan", "red"))
    return Text(canonical, "bold") if uri == canonical else Text.assemble((canonical, "bold"), "  ", (printable(uri), "dim"))


def _destination(verdict: Verdict, call: Call, generation: Generation, routing: Routing) -> Text:
    if call.trunk.reject_profile == REDIRECT:
        answer = final_answer(verdict, call.trunk).start[8:].decode()
        return Text.assemble((answer, "bold"), "  to the peer that asks, which sends it on itself")
    emergency = verdict.code == "EMG_OVERRIDE"
    hop = routing.hop_for(call.trunk, call.called, generation.directory, call.at, emergency=emergency)
    if hop is None:
        return Text("nowhere: the trunk has no next hop for it, and the caller gets 404", "red")
    return Text.assemble((hop.id, "bold"), "  ", ", ".join(target.uri for target in (*hop.targets, *hop.failover)))


def _steps(verdict: Verdict, generation: Generation) -> Table:
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim", pad_edge=True)
    table.add_column("#", justify="right", style="dim")
    table.add_column("rule", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("what decided", overflow="fold")
    steps = verdict.steps or []
    for place, step in enumerate(steps, 1):
        style = OUTCOME_STYLE.get(step.outcome, "dim")
        decided = style if step.rule == verdict.rule and step.outcome in ("reject", "redirect", "drop", "ok", "pass") else ""
        quiet = "dim" if style == "dim" else ""
        detail = printable(step.detail)
        what = Text(detail, quiet)
        if step.code and step.code not in detail:
            what = Text.assemble((step.code, style), f"  {detail}")
        table.add_row(str(place), Text(step.rule, decided or quiet), Text(step.outcome, style), what)
    for place, rule in enumerate(generation.ruleset.order[len(steps) :], len(steps) + 1):
        table.add_row(str(place), Text(rule.name, "dim"), Text("not asked", "dim"), "")
    return table


def _when(args: argparse.Namespace, generation: Generation) -> float:
    """Unix time that is meant; a time without a zone is one on the node's clock."""
    moment: datetime | None = args.at
    if moment is None:
        moment = datetime.now(UTC)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=generation.directory.zone)
    return moment.timestamp()


def _source(text: str) -> tuple[str, int]:
    try:
        host, port = split_port(text)
        return parse_address(host), SIP_PORT if port is None else port
    except ValueError as error:
        what, _, remedy = str(error).partition(" | ")
        raise argparse.ArgumentTypeError(f"{what}; {remedy}") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time; for example 2026-01-31T09:00:00+08:00") from None
    if not 1 < moment.year < 9999:  # a day of which some zone's clock cannot show
        raise argparse.ArgumentTypeError(f"{text!r} is outside the calendar; for example 2026-01-31T09:00:00+08:00")
    return moment
