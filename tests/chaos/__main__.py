"""kill -9 of each process of the stack under load: `python -m tests.chaos`. Writes docs/chaos.md."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tests.chaos.books import Verdict, all_is_notified, judge
from tests.chaos.kills import HEAL_SECONDS, ORDERS_BETWEEN, Killed, Processes, kill_each
from tests.chaos.load import PER_SECOND, Load, load
from tests.marketplace import ROOT
from tests.stack import Stack, whole_stack
from tests.waiting import until

REPORT = ROOT / "docs" / "chaos.md"
NOTIFY_SECONDS = 60
HEAD = """# kill -9 of each process

Written by `make chaos`. The whole stack runs as `make run-all` starts it without containers, on {cores} cores. {rate}
orders a second come through the gateway, every other one from a cart. Callers who get no answer, a 5xx or a 429 ask
again with the same `Idempotency-Key`, for at most a minute. Each process in turn gets a SIGKILL, and nobody helps. The
next one is killed when the stack is healthy and {between} orders more have gone well.

On {day}: **{kept}**, {kills} kills, {acknowledged} orders acknowledged, {refused}.

| of the orders | |
|---|---|
| acknowledged and not there | {verdict.lost} |
| twice there for one request | {verdict.doubled} |
| there and acknowledged to nobody | {verdict.ghosts} |
| changed without a notification | {verdict.unnotified} |
| notified of twice, of {verdict.told:,} notifications in the log | {verdict.told_twice} |
| with events that were put aside | {verdict.letters} |

Healthy means that the process is ready again and that an order which was asked for later is acknowledged (limit
{limit} s).

| killed | healthy after | longest wait for an order | why callers asked again |
|---|---|---|---|
"""


async def run() -> int:
    """Kills each process once, tells what came of it and writes the report; gives the exit code."""
    with whole_stack() as stack:
        processes = Processes(stack.runner.program.log)
        say(f"the stack runs: {len(processes.pids())} processes are killed, one after another\n")
        async with load(stack.url("GATEWAY"), stack.signs) as loaded:
            killed = await kill_each(processes, loaded, tell)
        loms, notifier = database(stack, "LOMS"), database(stack, "NOTIFIER")
        with suppress(TimeoutError):
            await until(lambda: all_is_notified(loms, notifier), NOTIFY_SECONDS)
        verdict = await judge(loms, notifier, loaded.acknowledged, stack.runner.program.log)
    is_kept = verdict.is_kept and not loaded.refused and all(each.is_kept for each in killed)
    REPORT.write_text(report(killed, loaded, verdict, is_kept=is_kept))
    say(f"{'kept' if is_kept else 'BROKEN'}: {verdict}, refused {dict(loaded.refused)}\n")
    return 0 if is_kept else 1


def database(stack: Stack, service: str) -> str:
    """Where the database of a service is."""
    settings: Mapping[str, str] = stack.runner.program.settings
    name, password = service.lower(), settings[f"{service}_APP_PASSWORD"]
    return f"postgresql://{name}_app:{password}@127.0.0.1:{stack.ports[f'{service}_POSTGRES_PORT']}/{name}"


def tell(killed: Killed) -> None:
    say(f"{killed.name}: healthy after {killed.healthy_after:.1f} s, longest order {killed.longest_order:.1f} s\n")


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def report(killed: Sequence[Killed], loaded: Load, verdict: Verdict, *, is_kept: bool) -> str:
    """What docs/chaos.md says."""
    refused = ", ".join(f"{count} × {why}" for why, count in sorted(loaded.refused.items()))
    head = HEAD.format(
        cores=os.cpu_count(),
        rate=PER_SECOND,
        between=ORDERS_BETWEEN,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        kept="all promises were kept" if is_kept else "a promise was BROKEN",
        kills=len(killed),
        acknowledged=f"{len(loaded.acknowledged):,}",
        refused=f"refused: {refused}" if refused else "none was refused, and no caller gave up",
        verdict=verdict,
        limit=HEAL_SECONDS,
    )
    return head + "".join(map(row, killed))


def row(killed: Killed) -> str:
    """A line of the table."""
    why = ", ".join(f"{count} × {reason}" for reason, count in killed.retried.most_common()) or "nobody did"
    return f"| {killed.name} | {killed.healthy_after:.1f} s | {killed.longest_order:.1f} s | {why} |\n"


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
