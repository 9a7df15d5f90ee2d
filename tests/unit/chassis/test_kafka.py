"""What of Kafka needs no broker to be tested."""

from aiokafka import ConsumerRecord

from services.chassis.bus import Message, Received
from services.chassis.kafka import to_received


def test_what_kafka_has_without_a_value_has_an_empty_one() -> None:
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        topic="t",
        partition=1,
        offset=7,
        timestamp=0,
        timestamp_type=0,
        key=None,
        value=None,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(("event-id", None), ("sequence", b"1")),  # type: ignore[arg-type]
    )

    assert to_received(record) == Received(Message(b"", b"", (("event-id", b""), ("sequence", b"1"))), 1, 7)
