"""A topic of Kafka: an idempotent producer, and a member of a consumer group that commits what it has handled."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from services.chassis.bus import BATCH, Handle, Message, Received
from services.chassis.errors import UnavailableError
from services.chassis.log import Logger

PUBLISH_SECONDS = 10
"""How long the brokers may take to store messages before the producer is given up."""
MAX_BATCH_BYTES = 256 * 1024
POLL_SECONDS = 0.2
RETRY_SECONDS = 0.5
BATCH_SECONDS = 5
"""How long a batch may take to be finished when its consumer stops."""
CLOSE_SECONDS = 1
SESSION_SECONDS = 10
"""How long the group waits for a member that is gone."""

STUCK_SECONDS = 30
"""How long a consumer may receive nothing before somebody looks whether there is something."""


Records: TypeAlias = "Sequence[ConsumerRecord[bytes, bytes]]"


@dataclass(frozen=True)
class KafkaTopic:
    """A topic, and where its brokers are."""

    bootstrap: str
    """`host:port`, separated by commas."""
    name: str


class KafkaPublisher:
    """Sends to a topic, with acks of all replicas in sync.

    A producer that has failed once, or did not answer in time, is not used again: after
    some errors it would never recover.
    """

    def __init__(self, topic: KafkaTopic) -> None:
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._send(await self._started(), messages)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._abandon()
            raise UnavailableError(f"the brokers have not taken it ({type(error).__name__})") from error
        except BaseException:
            await self._abandon()
            raise

    async def _abandon(self) -> None:
        """Lets go of a producer without the wait of its stop() for what it could not send, which may never end."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer._closed = True  # noqa: SLF001  its stop() does these three after the wait
            await _ended(producer._sender.close())  # noqa: SLF001
            await _ended(producer.client.close())

    async def close(self) -> None:
        """Lets go of the brokers."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _ended(producer.stop())

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._topic.bootstrap,
                acks="all",
                enable_idempotence=True,
                max_batch_size=MAX_BATCH_BYTES,
                request_timeout_ms=PUBLISH_SECONDS * 1000,
            )
            try:
                await producer.start()
            except BaseException:
                await _ended(producer.stop())
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
        partitions = sorted(await producer.partitions_for(self._topic.name))
        partitioner = DefaultPartitioner()
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in messages:
            by_partition[partitioner(message.key, partitions, partitions)].append(message)
        sent = []
        for partition, own in by_partition.items():
            batch = producer.create_batch()
            for message in own:
                if not _append(batch, message):
                    sent.append(await producer.send_batch(batch, self._topic.name, partition=partition))
                    batch = producer.create_batch()
                    _append(batch, message)
            sent.append(await producer.send_batch(batch, self._topic.name, partition=partition))
        await asyncio.gather(*sent)


class StuckError(Exception):
    """There are messages, and the consumer receives none of them."""


class KafkaConsumer:
    """Receives from a topic as a member of a group, and commits what was handled.

    A consumer that fails or is stuck is replaced by a new one: after some restarts of a
    broker it would never receive anything again (aio-libs/aiokafka issue 1154).
    """

    def __init__(self, topic: KafkaTopic, group: str, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._topic = topic
        self._group = group
        self._stuck_seconds = stuck_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._handled: dict[TopicPartition, int] = {}
        """Up to where the messages of its partitions are handled, as far as it has received some."""

    def lag(self) -> Mapping[int, int]:
        """As of the last answers of the brokers: it asks nobody."""
        if self._consumer is None:
            return {}
        assigned = self._consumer.assignment()
        ends = {partition: self._consumer.highwater(partition) for partition in assigned}
        return {
            partition.partition: max(0, end - self._handled.get(partition, end))
            for partition, end in ends.items()
            if end is not None
        }

    async def consume(self, handle: Handle, log: Logger) -> None:
        while True:
            try:
                async with self._member() as consumer:
                    await self._receive(consumer, handle, log)
            except (KafkaError, ConsumerStoppedError, StuckError, OSError) as error:
                log.warning("consumer replaced", topic=self._topic.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    @asynccontextmanager
    async def _member(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            self._topic.name,
            bootstrap_servers=self._topic.bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_SECONDS * 1000,
            heartbeat_interval_ms=SESSION_SECONDS * 1000 // 3,
            max_poll_records=BATCH,
        )
        try:
            await consumer.start()
            self._consumer = consumer
            yield consumer
        finally:
            self._consumer = None
            self._handled.clear()
            await _ended(consumer.stop())

    async def _receive(self, consumer: AIOKafkaConsumer, handle: Handle, log: Logger) -> None:
        received_at = time.monotonic()
        while True:
            received = await consumer.getmany(timeout_ms=round(POLL_SECONDS * 1000))
            self._take_note(consumer, received)
            for partition, records in received.items():
                await _finished(self._handle(consumer, partition, records, handle, log))
            if received:
                received_at = time.monotonic()
            elif time.monotonic() - received_at > self._stuck_seconds:
                await self._check(consumer)
                received_at = time.monotonic()

    async def _handle(
        self,
        consumer: AIOKafkaConsumer,
        partition: TopicPartition,
        records: Records,
        handle: Handle,
        log: Logger,
    ) -> None:
        """Has the messages handled and commits that; those that were not handled are received again."""
        try:
            await handle([to_received(record) for record in records])
        except Exception:
            log.exception("events not handled", partition=partition.partition, offset=records[0].offset)
            await asyncio.sleep(RETRY_SECONDS)
            if partition in consumer.assignment():
                consumer.seek(partition, records[0].offset)
            return
        with suppress(CommitFailedError, IllegalStateError):  # the partition is somebody else's now
            await consumer.commit({partition: records[-1].offset + 1})
            self._handled[partition] = records[-1].offset + 1

    def _take_note(self, consumer: AIOKafkaConsumer, received: Mapping[TopicPartition, Records]) -> None:
        """Of what is to be handled, and of the partitions that are somebody else's now."""
        self._handled.update({partition: records[0].offset for partition, records in received.items()})
        for partition in self._handled.keys() - consumer.assignment():
            del self._handled[partition]

    async def _check(self, consumer: AIOKafkaConsumer) -> None:
        """Raises StuckError when there is something to receive, or nobody who tells."""
        partitions = consumer.assignment()
        try:
            async with asyncio.timeout(self._stuck_seconds):
                ends = await consumer.end_offsets(partitions)
                positions = {partition: await consumer.position(partition) for partition in partitions}
        except TimeoutError:
            raise StuckError from None
        if any(ends[partition] > position for partition, position in positions.items()):
            raise StuckError


def _append(batch: BatchBuilder, message: Message) -> bool:
    """Whether there was place for it."""
    appended = batch.append(timestamp=None, key=message.key, value=message.value, headers=list(message.headers))
    return appended is not None


def to_received(record: ConsumerRecord[bytes, bytes]) -> Received:
    """The message at its place. What Kafka has without a value has an empty one."""
    message = Message(
        record.key or b"", record.value or b"", tuple((name, value or b"") for name, value in record.headers)
    )
    return Received(message, record.partition, record.offset)


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Waits for work that a stop does not cut off."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait_for(task, BATCH_SECONDS)
        raise


async def _ended(closing: Coroutine[Any, Any, None]) -> None:
    """Waits for the end of a client, not for long: it may wait for brokers that are not there.

    It is a task of its own, because it can raise a CancelledError that nobody has asked for.
    """
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=CLOSE_SECONDS)
    task.cancel()
    await asyncio.wait([task], timeout=CLOSE_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()
