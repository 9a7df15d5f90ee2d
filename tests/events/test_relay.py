"""Every change of an order is told on the topic, in order, and nothing else is. The long forms: `make reliability`."""

from pathlib import Path

import pytest

from services.chassis.kafka import KafkaTopic
from tests.events.relays import POLICY, new_books, order_events
from tests.kafka import Kafka, create_topic, running_kafka
from tests.reliability import sending

TAKEOVER_SECONDS = 5
PAUSE_SECONDS = 10
STOP_SECONDS = 10


async def new_topic(bootstrap: str) -> KafkaTopic:
    return KafkaTopic(bootstrap, await create_topic(bootstrap, POLICY.partitions))


async def test_there_is_an_event_for_each_change_that_is_committed_and_for_no_other(server: str, kafka: str) -> None:
    written = await sending.write_and_roll_back(await new_books(server), await new_topic(kafka), 600)

    assert written.verdict.is_kept, written
    assert written.commits > 900
    assert written.rolled_back > 20


async def test_no_event_is_skipped_whose_transaction_commits_after_later_ones(server: str, kafka: str) -> None:
    verdict = await sending.commit_backwards(await new_books(server), await new_topic(kafka), 5)

    assert verdict.is_kept, verdict


async def test_of_two_relays_only_one_sends(server: str, kafka: str) -> None:
    verdict = await sending.two_relays(await new_books(server), await new_topic(kafka), 300)

    assert verdict.is_kept, verdict
    assert verdict.repeated == 0


async def test_when_the_leader_is_killed_another_one_goes_on(server: str, own_kafka: Kafka, tmp_path: Path) -> None:
    topic = await order_events(own_kafka.bootstrap)
    outcome = await sending.kill_leaders(await new_books(server), topic, tmp_path, 1)

    assert outcome.verdict.is_kept, outcome
    assert outcome.errors == []
    assert max(outcome.seconds) < TAKEOVER_SECONDS


@pytest.mark.long
async def test_while_the_leader_stands_still_another_one_goes_on(server: str, own_kafka: Kafka, tmp_path: Path) -> None:
    topic = await order_events(own_kafka.bootstrap)
    outcome = await sending.stop_leaders(await new_books(server), topic, tmp_path, 1, number=50)

    assert outcome.verdict.is_kept, outcome
    assert outcome.errors == []
    assert max(outcome.seconds) < TAKEOVER_SECONDS


async def test_orders_go_on_without_the_broker_and_their_events_come_when_it_does(
    server: str, own_kafka: Kafka, tmp_path: Path
) -> None:
    topic = await order_events(own_kafka.bootstrap)
    outcome = await sending.lose_broker(own_kafka, await new_books(server), topic, tmp_path, times=1, number=60)

    assert outcome.verdict.is_kept, outcome
    assert outcome.errors == []


@pytest.mark.long
async def test_of_three_brokers_one_may_die(server: str, tmp_path: Path) -> None:
    with running_kafka(3) as kafka:
        topic = await order_events(kafka.bootstrap, replicas=3)
        leader = await sending.leader_of(kafka, topic)
        outcome = await sending.lose_brokers(kafka, await new_books(server), topic, tmp_path, [leader])

    assert outcome.verdict.is_kept, outcome
    assert outcome.errors == []
    assert max(outcome.seconds) < PAUSE_SECONDS


async def test_who_is_told_to_stop_sends_what_is_left_before(server: str, own_kafka: Kafka, tmp_path: Path) -> None:
    topic = await order_events(own_kafka.bootstrap)
    end = await sending.stop_with_backlog(await new_books(server), topic, tmp_path, 300)

    assert end.before > 600
    assert (end.exit_code, end.left) == (0, 0)
    assert end.seconds < STOP_SECONDS
    assert end.verdict is not None
    assert end.verdict.is_kept, end


@pytest.mark.long
async def test_who_is_told_to_stop_while_the_broker_hangs_leaves_the_events_in_the_outbox(
    server: str, own_kafka: Kafka, tmp_path: Path
) -> None:
    [broker] = own_kafka.brokers
    topic = await order_events(own_kafka.bootstrap)
    try:
        end = await sending.stop_with_backlog(await new_books(server), topic, tmp_path, 300, broker.pause)
    finally:
        broker.resume()

    assert end.before > 600
    assert (end.exit_code, end.left) == (0, end.before)
    assert end.seconds < STOP_SECONDS
