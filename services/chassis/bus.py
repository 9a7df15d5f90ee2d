"""Events between services: what a topic promises, and a topic within one process that keeps the promises."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol
from zlib import crc32

from services.chassis.log import Logger
from services.chassis.metrics import (
    CONSUMER_LAG,
    ERROR,
    OK,
    PROCESS_DURATION,
    PROCESSED_MESSAGES,
    PUBLISH_DURATION,
    PUBLISHED_MESSAGES,
    Counts,
    Durations,
    Timed,
)
from services.chassis.tracers import tracer_of
from services.chassis.traces import TRACEPARENT, Kind, Span, is_sampled

TRACE_HEADER = "traceparent"
BATCH = 500
"""How many messages are handled at once, at most."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way. Messages with the same key keep their order."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()

    def traceparent(self) -> str | None:
        """The trace that it is part of. None if it names none, or in a way that is none."""
        for name, value in self.headers:
            if name == TRACE_HEADER:
                text = value.decode(errors="replace")
                return text if TRACEPARENT.fullmatch(text) else None
        return None

    def within(self, span: Span) -> "Message":
        """The message as part of this span."""
        others = tuple(header for header in self.headers if header[0] != TRACE_HEADER)
        return replace(self, headers=(*others, (TRACE_HEADER, span.traceparent.encode())))


@dataclass(frozen=True, slots=True)
class Received:
    """A message and its place in the topic."""

    message: Message
    partition: int
    offset: int
    traceparent: str | None = None
    """The trace that its handling is part of."""


Handle = Callable[[Sequence[Received]], Awaitable[None]]
"""Handles messages of one partition, which are in their order. When it raises, all of them come again."""


class Publisher(Protocol):
    """The sending side of a topic."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all of them are stored. After an error any of them may be stored or not."""
        ...


class Consumer(Protocol):
    """The receiving side of a topic: a member of the group whose members share the partitions."""

    async def consume(self, handle: Handle, log: Logger) -> None:
        """Has every message handled, in order within a partition, until cancelled.

        A message whose handling fails comes again, and so may one that was handled when
        its consumer died; those behind it wait.
        """
        ...

    def lag(self) -> Mapping[int, int]:
        """How many messages are there that were not handled, by partition."""
        ...


class ObservedPublisher:
    """Tells what a service publishes and how long it takes. Of messages whose traces are sampled each is a span,
    under which it is processed.
    """

    def __init__(self, publisher: Publisher, topic: str, service: str) -> None:
        self._publisher = publisher
        self._spans = _Spans("producer", f"publish {topic}", topic, service)
        self._durations = Durations(PUBLISH_DURATION, topic)
        self._counts = Counts(PUBLISHED_MESSAGES, topic)

    async def publish(self, messages: Sequence[Message]) -> None:
        spans = self._spans.begin(messages)
        sent = [message.within(spans[index]) if index in spans else message for index, message in enumerate(messages)]
        with self._spans.until_end(spans), Timed(self._durations), counted(self._counts, len(messages)):
            await self._publisher.publish(sent)


class ObservedConsumer:
    """Tells what a service handles, how long it takes and what is left. Of messages whose traces are sampled each is
    a span.
    """

    def __init__(self, consumer: Consumer, topic: str, service: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._spans = _Spans("consumer", f"process {topic}", topic, service)
        self._durations = Durations(PROCESS_DURATION, topic)
        self._counts = Counts(PROCESSED_MESSAGES, topic)

    async def consume(self, handle: Handle, log: Logger) -> None:
        async def observed(batch: Sequence[Received]) -> None:
            spans = self._spans.begin([received.message for received in batch])
            with self._spans.until_end(spans), Timed(self._durations), counted(self._counts, len(batch)):
                await handle([_within(received, spans.get(index)) for index, received in enumerate(batch)])

        with CONSUMER_LAG.source(self._by_labels):
            await self._consumer.consume(observed, log)

    def lag(self) -> Mapping[int, int]:
        return self._consumer.lag()

    def _by_labels(self) -> dict[tuple[str, ...], float]:
        return {(self._topic, str(partition)): count for partition, count in self.lag().items()}


def _within(received: Received, span: Span | None) -> Received:
    return replace(received, traceparent=span.traceparent if span else received.message.traceparent())


class _Spans:
    """The spans of messages."""

    def __init__(self, kind: Kind, name: str, topic: str, service: str) -> None:
        self._kind, self._name = kind, name
        self._attributes = {"messaging.system": "kafka", "messaging.destination.name": topic}
        self._tracer = tracer_of(service)

    def begin(self, messages: Sequence[Message]) -> dict[int, Span]:
        """Those of the messages whose traces are sampled, by their places."""
        if self._tracer is None:
            return {}
        begun = {}
        for index, message in enumerate(messages):
            traceparent = message.traceparent()
            if traceparent is not None and is_sampled(traceparent):
                span = self._tracer.span(self._name, self._kind, self._attributes, traceparent)
                if span is not None:
                    begun[index] = span
        return begun

    @contextmanager
    def until_end(self, spans: Mapping[int, Span]) -> Iterator[None]:
        failed = True
        try:
            yield
            failed = False
        finally:
            for span in spans.values():
                span.end(failed=failed)


@contextmanager
def counted(counts: Counts, count: int) -> Iterator[None]:
    """Counts so many as `ok`, or as `error` if the block raises."""
    outcome = ERROR
    try:
        yield
        outcome = OK
    finally:
        counts.add(outcome, count)


@dataclass(slots=True)
class _Partition:
    messages: deque[Message] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    offset: int = 0
    """Of the first of the messages."""


class InProcessTopic:
    """A topic within one process, with one consumer.

    A message leaves its partition only after it was handled. It keeps nothing
    while nobody consumes: there is no disk behind it.
    """

    def __init__(self, partitions: int = 2, retry_seconds: float = 0.5) -> None:
        self._partitions = [_Partition() for _ in range(partitions)]
        self._retry_seconds = retry_seconds
        self._consumed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        if not self._consumed:
            return
        for message in messages:
            partition = self._partitions[crc32(message.key) % len(self._partitions)]
            partition.messages.append(message)
            partition.arrived.set()

    def lag(self) -> Mapping[int, int]:
        return {number: len(partition.messages) for number, partition in enumerate(self._partitions)}

    async def consume(self, handle: Handle, log: Logger) -> None:
        self._consumed = True
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(self._partitions)):
                    group.create_task(self._consume(number, handle, log))
        finally:
            self._consumed = False

    async def _consume(self, number: int, handle: Handle, log: Logger) -> None:
        partition = self._partitions[number]
        while True:
            while partition.messages:
                batch = [
                    Received(message, number, partition.offset + index)
                    for index, message in enumerate(islice(partition.messages, BATCH))
                ]
                try:
                    await handle(batch)
                except Exception:
                    log.exception("events not handled", partition=number, offset=partition.offset)
                    await asyncio.sleep(self._retry_seconds)
                else:
                    partition.offset += len(batch)
                    for _ in batch:
                        partition.messages.popleft()
            partition.arrived.clear()
            await partition.arrived.wait()
