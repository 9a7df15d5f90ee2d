"""One broker for all tests that leave each other alone: each has topics and groups of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.kafka import Kafka, running_kafka, shared_kafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that all processes of the run share."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared_kafka(run / "kafka") as address:
        yield address


@pytest.fixture(scope="package")
def own_kafka() -> Iterator[Kafka]:
    """A broker of this process, which may die."""
    with running_kafka() as kafka:
        yield kafka
