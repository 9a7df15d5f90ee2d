"""Makes the topics of the contract that are missing: `python -m services.topics`."""

import sys
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from marketplace.loms.v1.events_pb2 import OrderEvent
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.contract import event
from services.chassis.lifecycle import run_to_exit
from services.chassis.settings import Bootstrap, Settings, StartError, load

EVENTS = (OrderEvent.DESCRIPTOR,)


class TopicSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="LOMS_")

    kafka_bootstrap: Bootstrap
    """The brokers."""
    kafka_replication_factor: int = Field(default=1, ge=1)
    """How many brokers keep each event. All but one of them have to, before it is acknowledged."""


async def create_topics(settings: TopicSettings) -> dict[str, bool]:
    """Makes the topics that are missing, and tells of each whether it was.

    Raises StartError when the brokers cannot be reached, refuse, or have a topic with
    another number of partitions: an event's order would not survive a change of that.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    variable = settings.variable("kafka_bootstrap")
    try:
        await client.start()
        return {
            policy.topic: await _create(client, policy.topic, policy.partitions, settings)
            for policy in map(event, EVENTS)
        }
    except (KafkaError, OSError, TimeoutError) as error:
        raise StartError(f"the brokers do not make topics ({type(error).__name__}): look at {variable}") from None
    finally:
        await client.close()


async def _create(client: AIOKafkaAdminClient, name: str, partitions: int, settings: TopicSettings) -> bool:
    factor = settings.kafka_replication_factor
    configuration = {"min.insync.replicas": str(max(1, factor - 1))}
    answer: Any = await client.create_topics([NewTopic(name, partitions, factor, topic_configs=configuration)])
    [(_, code, *_)] = answer.topic_errors
    error = for_code(code)
    if error is TopicAlreadyExistsError:
        await _check(client, name, partitions)
        return False
    if code != 0:
        raise error(name)
    return True


async def _check(client: AIOKafkaAdminClient, name: str, partitions: int) -> None:
    [described] = await client.describe_topics([name])
    found = len(described["partitions"])
    if found != partitions:
        raise StartError(f"{name} has {found} partitions, and the contract says {partitions}: make it anew")


async def run() -> int:
    """Makes the topics and tells which; gives the exit code."""
    for name, is_new in (await create_topics(load(TopicSettings))).items():
        sys.stdout.write(f"{name}: {'made' if is_new else 'was there'}\n")
    return 0


if __name__ == "__main__":
    run_to_exit(run())
