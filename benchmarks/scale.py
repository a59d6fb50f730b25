"""What 32 cores and ten machines would carry: a computation and a small simulation, from costs measured on two cores.

    python -m benchmarks.scale [--call-us 130] [--receive-us 2.5] ...

It prints Markdown tables. What is measured and what assumed is said in README.md in this folder. Times are of one machine and one moment:
what is worth something is where the curve bends, and why.
"""

from __future__ import annotations

import argparse
import random
import statistics

RECEIVED = 6
"""Messages of a completed call that come in: INVITE, 180, 200, ACK, BYE, 200."""
SECOND = 1e6


def imbalance(workers: int, calls: float, draws: int = 20) -> float:
    """How much more calls of one second the busiest worker gets than the mean, when each call goes to a worker by chance: median."""
    draw = random.Random(workers)
    found = []
    for _ in range(draws if workers > 1 else 1):
        shares = [0] * workers
        for _ in range(int(calls)):
            shares[draw.randrange(workers)] += 1
        found.append(max(shares) / (calls / workers))
    return statistics.median(found)


def costs(options: argparse.Namespace, workers: int, *, notices: bool) -> dict[str, float]:
    """Microseconds of a worker for each completed call, by what they are spent on."""
    parts = {"call": options.call_us}
    if workers > 1:
        parts["steering"] = options.steering_us * RECEIVED
        parts["legs"] = (workers - 1) * (options.tell_us + options.hear_us) if notices else options.legs_us
        parts["legs asked for"] = options.forwarded * workers * options.age_us
    return parts


def capacity(options: argparse.Namespace, workers: int, *, notices: bool) -> tuple[float, float]:
    """Calls a second of a node at which its busiest worker is as busy as it may be, and how much more it has than the mean."""
    each = costs(options, workers, notices=notices)
    # each worker pings each target for itself
    free = options.busy - options.targets / options.ping_every * options.ping_us / SECOND
    calls = workers * free * SECOND / sum(each.values())
    uneven = imbalance(workers, min(calls, 200_000))
    return calls / uneven, uneven


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value, text in (
        ("call-us", 130.0, "CPU of a completed call in one worker, saturated, kernel and all"),
        (
            "receive-us",
            2.5,
            "of a message's 5.5 in the kernel what comes before the worker reads it: on the core of its receive queue (assumed)",
        ),
        ("steering-us", 0.45, "a datagram through the program that finds its Call-ID"),
        ("legs-us", 10.0, "a leg noted in shared memory and ended"),
        ("tell-us", 2.0, "a leg told to one other worker, begin and end (as it was)"),
        ("hear-us", 7.0, "and heard there (as it was)"),
        ("age-us", 0.28, "a look into one worker's legs, for a call that asks"),
        ("forwarded", 0.05, "share of calls that ask"),
        ("targets", 20.0, "targets with OPTIONS pings; each worker pings each"),
        ("ping-every", 10.0, "seconds between pings"),
        ("ping-us", 60.0, "a ping and its answer"),
        ("busy", 0.7, "how busy a worker may be"),
        ("scrape-us", 2500.0, "a scrape in a worker with 10,000 series"),
        ("sum-us", 12_000.0, "and in the supervisor for each worker"),
        ("scrape-every", 15.0, "seconds between scrapes"),
        ("journal-us", 5.0, "a record in the journal keeper (assumed: measure it with the journal)"),
    ):
        parser.add_argument(f"--{name}", type=float, default=value, help=f"{text} (%(default)s)")
    options = parser.parse_args()

    print("| workers | calls/s | of linear | busiest worker / mean | legs told to all, as it was: calls/s | of linear |")
    print("|---|---|---|---|---|---|")
    one, _ = capacity(options, 1, notices=False)
    node = one
    for workers in (1, 2, 4, 8, 16, 32, 64):
        calls, uneven = capacity(options, workers, notices=False)
        before, _ = capacity(options, workers, notices=True)
        node = calls if workers == 32 else node
        print(f"| {workers} | {calls:,.0f} | {calls / one / workers:.0%} | {uneven:.2f} | {before:,.0f} | {before / one / workers:.0%} |")

    print(f"\n32 workers at {node:,.0f} calls a second; what else is used, in cores:\n\n| | cores |\n|---|---|")
    rows = (
        ("one peer's receive queue, if its messages all come in by one", node * RECEIVED * options.receive_us / SECOND),
        ("supervisor: scrapes", 32 * options.sum_us / options.scrape_every / SECOND),
        ("scrapes, in each worker", options.scrape_us / options.scrape_every / SECOND),
        ("journal keeper", node * options.journal_us / SECOND),
        ("calls that ask who delivered them, in each worker", node / 32 * options.forwarded * 32 * options.age_us / SECOND),
        ("pings of 20 targets, all workers", 32 * 20 / options.ping_every * options.ping_us / SECOND),
        ("pings of 2,000 targets, all workers", 32 * 2000 / options.ping_every * options.ping_us / SECOND),
    )
    for what, cores in rows:
        print(f"| {what} | {cores:.3f} |")

    print("\n| machines of 32 workers | calls/s, all up | with one down | forwarded calls whose first leg another one has |")
    print("|---|---|---|---|")
    for machines in (1, 2, 3, 10):
        down = node * (machines - 1)
        print(f"| {machines} | {node * machines:,.0f} | {down:,.0f} | {1 - 1 / machines:.0%} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
