"""What a replay amounts to, for people: counts, what a candidate changes, who is refused most, what could not be read."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.terminal import ACTION_STYLE, facts, in_words, printable
from proxy.replay.policy import Policy
from proxy.replay.row import Row
from proxy.replay.summary import Decided, Summary
from proxy.replay.trouble import FILE, KINDS, UNREAD

_CALLERS: Final = 10
_CODES: Final = 20


def show(out: Console, summary: Summary, policy: Policy, candidate: Policy | None) -> None:
    """Print all of it."""
    out.print(_counts(summary, policy, candidate))
    if summary.calls:
        out.print()
        out.print(_codes(summary, policy))
    if candidate is not None:
        out.print()
        _changes(out, summary, policy)
    if summary.callers:
        out.print()
        out.print(_refused(summary))
    if summary.trouble.counts:
        out.print()
        out.print(_trouble(summary))


def note(err: Console, summary: Summary, policy: Policy, *, in_full: bool) -> None:
    """What a reader should know before it believes the figures; `in_full`: faults too, which nothing else names then."""
    trouble = summary.trouble
    for kind, examples in trouble.examples.items():
        if in_full or kind == FILE:
            for example in examples:
                err.print(f"{printable(example.place)}: {printable(example.why)}", soft_wrap=True)
            more = trouble.counts[kind] - len(examples)
            if more > 0:
                err.print(f"note: and {more:,} more {KINDS[kind]}.", soft_wrap=True)
    if summary.calls and summary.codes["TRK_UNKNOWN"] == summary.calls:
        err.print("note: no call comes from a trunk's address; --trunk or --map says where calls of a capture from elsewhere arrive.")
    if summary.invites and summary.ours + summary.elsewhere == summary.invites:
        err.print("note: no call comes from a source of --map or of a trunk, so none was judged.")
    if summary.untimed:
        err.print(f"note: {summary.untimed:,} calls have no time in their trace; they were judged as of now.")
    if summary.unanswered:
        err.print(
            f"note: {summary.unanswered:,} calls wait for a look-up that a replay does not make; they were judged as with no answer.",
            soft_wrap=True,
        )


def _counts(summary: Summary, policy: Policy, candidate: Policy | None) -> Table:
    grid = facts()
    trouble = summary.trouble
    zone = policy.generation.directory.zone
    if summary.first is not None and summary.last is not None:
        first, last = (datetime.fromtimestamp(at, zone).isoformat(" ", "seconds") for at in (summary.first, summary.last))
        grid.add_row("time", f"{first} to {last}")
    grid.add_row("read", f"{trouble.packets:,} packets, {trouble.messages:,} SIP messages, {trouble.unparsable:,} faults")
    not_judged = {
        "retransmissions": summary.again,
        "inside calls": summary.inside,
        "sent by this node": summary.ours,
        "from elsewhere": summary.elsewhere,
    }
    rest = ", ".join(f"{count:,} {name}" for name, count in not_judged.items() if count)
    grid.add_row("INVITEs", f"{summary.invites:,}" + (f", of which not judged: {rest}" if rest else ""))
    calls = Text(f"{summary.calls:,}", "bold")
    for action, count in summary.actions.most_common():
        calls.append("   ")
        calls.append(f"{count:,} {action}", ACTION_STYLE[action])
    grid.add_row("calls", calls)
    grid.add_row("policy", f"{policy.ruleset.policy_version}, directory {policy.ruleset.directory.version}")
    if candidate is not None:
        ruleset = candidate.ruleset
        grid.add_row("candidate", f"{ruleset.policy_version}, directory {ruleset.directory.version}")
        grid.add_row("changed", Text(f"{summary.changed:,} of {summary.calls:,} calls", "bold" if summary.changed else "dim"))
    return grid


def _codes(summary: Summary, policy: Policy) -> Table:
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("code", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for code, count in summary.codes.most_common(_CODES):
        table.add_row(f"{count:,}", code or "none", _sentence(code, policy))
    rest = summary.codes.most_common()[_CODES:]
    if rest:
        table.add_row(f"{sum(count for _, count in rest):,}", "others", f"{len(rest)} codes more", style="dim")
    return table


def _sentence(code: str, policy: Policy) -> str:
    return in_words(code, policy.ruleset.codes).en if code else "refused by the proxy before policy is asked (RFC 3261 §16.3)"


def _changes(out: Console, summary: Summary, policy: Policy) -> None:
    if not summary.changed:
        out.print(Text("The candidate decides every call as the policy does.", "green"))
        return
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim", show_lines=True)
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("now")
    table.add_column("candidate")
    table.add_column("such as", overflow="fold")
    zone = policy.generation.directory.zone
    for change in summary.changes:
        examples = [_named(row, zone) for row in change.examples[:3]]
        table.add_row(f"{change.count:,}", _decision(change.before), _decision(change.after), Text("\n").join(examples))
    out.print(table)


def _decision(decided: Decided) -> Text:
    action, code, rule, status = decided
    text = Text.assemble((action, ACTION_STYLE[action]), f" {code}".rstrip())
    if status is not None:
        text.append(f" {status}")
    if rule:
        text.append(f"\nby {rule}", "dim")
    return text


def _named(row: Row, zone: tzinfo) -> Text:
    at = "" if row.at is None else datetime.fromtimestamp(row.at, zone).strftime("%H:%M:%S ")
    text = Text(f"{at}{printable(row.judged.caller)[:40]} → {printable(row.judged.called)[:40]}")
    text.append(f"\n{printable(row.call_id)[:60]}", "dim")
    return text


def _refused(summary: Summary) -> Table:
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    table.add_column("refused", justify="right", no_wrap=True)
    table.add_column("caller", overflow="fold")
    table.add_column("trunk", no_wrap=True)
    for (trunk, caller), count in summary.callers.most_common(_CALLERS):
        table.add_row(f"{count:,}", printable(caller) or "none", trunk or "none")
    others = len(summary.callers) - _CALLERS
    if others > 0:
        rest = sum(summary.callers.values()) - sum(count for _, count in summary.callers.most_common(_CALLERS)) + summary.other_callers
        table.add_row(f"{rest:,}", f"{others:,} callers more" if not summary.other_callers else "others", "", style="dim")
    return table


def _trouble(summary: Summary) -> Table:
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    table.add_column("faults", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("such as", overflow="fold")
    for kind, count in summary.trouble.counts.items():
        examples = [f"{printable(example.place)}: {printable(example.why)}" for example in summary.trouble.examples[kind][:3]]
        style = "dim" if kind in UNREAD else ""
        table.add_row(f"{count:,}", KINDS[kind], "\n".join(examples), style=style)
    return table
