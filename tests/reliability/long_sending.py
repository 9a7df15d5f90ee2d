"""The long tests of those who send events."""

from collections.abc import Mapping
from pathlib import Path

from services.chassis.kafka import KafkaTopic
from tests.events.relays import POLICY, Verdict, new_books, order_events
from tests.kafka import create_topic, running_kafka
from tests.reliability import sending
from tests.reliability.report import Finding, Scenario
from tests.reliability.sending import End, Outcome

TAKEOVER_SECONDS = 5
PAUSE_SECONDS = 10
STOP_SECONDS = 10
RATE = 50


def told(verdict: Verdict) -> str:
    """The verdict in words."""
    return (
        f"lost {len(verdict.lost)}, ghosts {len(verdict.ghosts)}, orders out of order {len(verdict.disordered)}, "
        f"sent twice {verdict.repeated}"
    )


def judged(outcome: Outcome, what: str, limit: float) -> Finding:
    """A finding about an outcome whose times may not reach a limit."""
    times = sorted(outcome.seconds)
    found = (
        f"order errors {len(outcome.errors)}, {told(outcome.verdict)}; "
        f"{what} {times[len(times) // 2]:.1f} s in the middle, {times[-1]:.1f} s at most (limit {limit})"
    )
    return Finding(found, outcome.verdict.is_kept and not outcome.errors and times[-1] < limit)


async def commits(server: str, _folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = KafkaTopic(kafka.bootstrap, await create_topic(kafka.bootstrap, POLICY.partitions))
        written = await sending.write_and_roll_back(await new_books(server), topic, 34_000)
    found = f"{written.commits:,} commits, {written.rolled_back:,} rolled back: {told(written.verdict)}"
    return Finding(found, written.verdict.is_kept and written.commits >= 50_000 and written.rolled_back > 0)


async def commit_order(server: str, _folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = KafkaTopic(kafka.bootstrap, await create_topic(kafka.bootstrap, POLICY.partitions))
        verdict = await sending.commit_backwards(await new_books(server), topic, 100)
    return Finding(told(verdict), verdict.is_kept)


async def killed_leaders(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = await order_events(kafka.bootstrap)
        outcome = await sending.kill_leaders(await new_books(server), topic, folder, 20)
    return judged(outcome, "nothing was sent for", TAKEOVER_SECONDS)


async def stopped_leaders(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = await order_events(kafka.bootstrap)
        outcome = await sending.stop_leaders(await new_books(server), topic, folder, 3, number=30 * RATE)
    return judged(outcome, "nothing was sent for", TAKEOVER_SECONDS)


async def outage(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = await order_events(kafka.bootstrap)
        outcome = await sending.lose_broker(kafka, await new_books(server), topic, folder, times=1, number=30 * RATE)
    return judged(outcome, "the backlog was sent within", sending.DRAIN_SECONDS)


async def killed_broker(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = await order_events(kafka.bootstrap)
        outcome = await sending.lose_broker(kafka, await new_books(server), topic, folder, times=5, number=RATE)
    return judged(outcome, "the backlog was sent within", sending.DRAIN_SECONDS)


async def three_brokers(server: str, folder: Path) -> Finding:
    with running_kafka(3) as kafka:
        topic = await order_events(kafka.bootstrap, replicas=3)
        outcome = await sending.lose_brokers(kafka, await new_books(server), topic, folder, [*kafka.brokers] * 2)
    return judged(outcome, "nothing was sent for", PAUSE_SECONDS)


async def stops(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        [broker] = kafka.brokers
        topic = await order_events(kafka.bootstrap)
        sent = await sending.stop_with_backlog(await new_books(server), topic, folder, 1000)
        left = await sending.stop_with_backlog(await new_books(server), topic, folder, 1000, broker.kill)
    is_sent = sent.verdict is not None and sent.verdict.is_kept and (sent.exit_code, sent.left) == (0, 0)
    is_left = (left.exit_code, left.left) == (0, left.before)
    found = f"with the broker: {ended(sent)}; without: {ended(left)} (limit {STOP_SECONDS} s)"
    return Finding(found, is_sent and is_left and max(sent.seconds, left.seconds) < STOP_SECONDS)


def ended(end: End) -> str:
    return f"exit code {end.exit_code} after {end.seconds:.1f} s, of {end.before} events {end.left} left"


async def latency(server: str, folder: Path) -> Finding:
    with running_kafka() as kafka:
        topic = await order_events(kafka.bootstrap)
        measured = await sending.measure_latency(await new_books(server), topic, folder, 100, 2000)
    found = f"{measured.number:,} events: p50 {measured.p50 * 1000:.0f} ms, p99 {measured.p99 * 1000:.0f} ms"
    return Finding(found, measured.number > 4000)


SENDING: Mapping[str, Scenario] = {
    "commits": Scenario("R-11: 32 writers make, pay and cancel 34,000 orders; 5 % is rolled back", commits),
    "commit-order": Scenario("R-12: of 4 transactions 3 commit, last first; 100 times", commit_order),
    "killed-leaders": Scenario("R-13: of two processes the leader is killed; 20 times", killed_leaders),
    "stopped-leaders": Scenario("R-14: of two processes the leader stands still for 30 s; 3 times", stopped_leaders),
    "outage": Scenario("R-16: 50 orders a second come, and for 30 s no broker is there", outage),
    "killed-broker": Scenario("R-16: 50 orders a second come, and the broker is killed; 5 times", killed_broker),
    "three-brokers": Scenario("R-16: 50 orders a second come, one of three brokers is killed; 6 times", three_brokers),
    "stops": Scenario("LOMS is told to stop with the events of 1,000 orders in its outbox", stops),
    "latency": Scenario("100 orders a second: from the change of an order to a consumer", latency),
}
