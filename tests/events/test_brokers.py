"""The brokers of the tests keep what they acknowledge, and end with those who use them."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.kafka import Kafka, create_topic, running_kafka, shared_kafka, skip_without_kafka
from tests.marketplace import ROOT
from tests.waiting import until

PARTITIONS = 3
FAILOVER_SECONDS = 10
USER = """
import pathlib, sys
from tests.kafka import shared_kafka

with shared_kafka(pathlib.Path(sys.argv[1])) as address:
    print(address, flush=True)
    sys.stdin.read()
"""


def messages(first: int, count: int) -> list[bytes]:
    return [b"%04d" % number for number in range(first, first + count)]


def sending(producer: AIOKafkaProducer, topic: str, values: Sequence[bytes]) -> list[asyncio.Task[None]]:
    return [
        asyncio.create_task(producer.send_and_wait(topic, value, partition=number % PARTITIONS))
        for number, value in enumerate(values)
    ]


async def stored(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first messages of the topic, sorted."""
    async with (
        asyncio.timeout(FAILOVER_SECONDS),
        AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer,
    ):
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        values: list[bytes] = []
        while len(values) < count:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                values += [record.value for record in records]
    return sorted(values)


async def test_what_was_acknowledged_outlives_a_kill(own_kafka: Kafka) -> None:
    [broker] = own_kafka.brokers
    topic = await create_topic(own_kafka.bootstrap, PARTITIONS)
    sent = messages(0, 100)
    async with AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap, enable_idempotence=True) as producer:
        await asyncio.gather(*sending(producer, topic, sent))

    broker.kill()
    broker.start()

    assert await stored(own_kafka.bootstrap, topic, len(sent)) == sent


@pytest.mark.long
async def test_a_broker_that_hangs_acknowledges_when_it_goes_on() -> None:
    with running_kafka() as kafka:
        [broker] = kafka.brokers
        topic = await create_topic(kafka.bootstrap)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True) as producer:
            await producer.send_and_wait(topic, b"before")
            broker.pause()
            hanging = asyncio.create_task(producer.send_and_wait(topic, b"meanwhile"))
            await asyncio.wait([hanging], timeout=1)
            assert not hanging.done()

            broker.resume()
            await hanging


async def test_topics_are_not_made_by_themselves(kafka: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, request_timeout_ms=1000) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait("unknown", b"message")


async def test_each_test_has_a_topic_of_its_own_with_its_partitions(kafka: str) -> None:
    topics = [await create_topic(kafka, partitions) for partitions in (1, PARTITIONS)]

    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        partitions = [await producer.partitions_for(topic) for topic in topics]

    assert partitions == [{0}, {0, 1, 2}]


@pytest.mark.long
async def test_the_kill_of_the_leader_of_three_brokers_loses_nothing_and_is_over_soon() -> None:
    """Each of them leads a partition. This one leads the controllers, too: of none it takes longer to be replaced."""
    with running_kafka(3) as kafka:
        topic = await create_topic(kafka.bootstrap, PARTITIONS)
        before, meanwhile = messages(0, 100), messages(100, 100)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True) as producer:
            await asyncio.gather(*sending(producer, topic, before))
            sends = sending(producer, topic, meanwhile)
            await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
            kafka.leader.kill()
            async with asyncio.timeout(FAILOVER_SECONDS):
                await asyncio.gather(*sends)

        assert await stored(kafka.bootstrap, topic, 200) == before + meanwhile


@pytest.mark.long
async def test_a_shared_broker_outlives_a_killed_process_that_has_started_it_and_ends_with_its_last_user(
    tmp_path: Path,
) -> None:
    skip_without_kafka()
    command = (sys.executable, "-c", USER, str(tmp_path))
    starter = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    assert starter.stdout
    address = (await starter.stdout.readline()).decode().strip()
    with shared_kafka(tmp_path) as same_address:
        assert same_address == address
        starter.kill()
        await starter.wait()
        await create_topic(address)

    await until(lambda: has_ended(address))


async def has_ended(address: str) -> bool:
    host, port = address.split(":")
    with suppress(ConnectionError), socket.create_connection((host, int(port))):
        return False
    return True
