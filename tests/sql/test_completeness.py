"""No query without a test."""

import importlib

import pytest

from tests.sql.queries import named_query, queries, services


@pytest.mark.parametrize("service", services())
def test_every_query_has_a_test_and_every_test_is_named_for_a_query(service: str) -> None:
    module = importlib.import_module(f"tests.sql.test_{service}_queries")

    tested = {named_query(name, service) for name in vars(module) if name.startswith("test_")}
    assert set(queries(service)) - tested == set()
    assert None not in tested
