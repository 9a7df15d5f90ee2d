"""Consistent hashing: even, the same everywhere, and few keys move."""

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from services.chassis.hashing import Rendezvous

KEYS = [f"cache/1/marketplace.product.v1.ProductService/GetProduct/{sku}" for sku in range(1_000_000, 1_020_000)]
QUICKLY = settings(max_examples=10, deadline=None, phases=[Phase.generate])
"""Among so many keys, to look for the simplest failure would take minutes."""
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
nodes = st.lists(names, min_size=2, max_size=5, unique=True)


@given(nodes)
@QUICKLY
def test_each_node_has_its_share_of_the_keys_within_a_tenth(listed: list[str]) -> None:
    placed = Rendezvous(listed)

    counts = Counter(map(placed.node, KEYS))

    for node in listed:
        assert counts[node] == pytest.approx(len(KEYS) / len(listed), rel=0.1)


@given(nodes, names)
@QUICKLY
def test_an_added_node_takes_only_its_own_share_and_from_everybody(listed: list[str], added: str) -> None:
    before, after = Rendezvous(set(listed) - {added}), Rendezvous({*listed, added})

    moved = [key for key in KEYS if before.node(key) != after.node(key)]

    assert {after.node(key) for key in moved} == {added}
    assert {before.node(key) for key in moved} == set(listed) - {added}
    assert len(moved) <= 1.2 / len({*listed, added}) * len(KEYS)


@given(nodes, st.lists(names), st.randoms(use_true_random=False))
def test_neither_the_order_of_the_nodes_nor_their_repetition_matters(
    listed: list[str], keys: list[str], dice: random.Random
) -> None:
    shuffled = [*listed, listed[0]]
    dice.shuffle(shuffled)

    assert [Rendezvous(listed).node(key) for key in keys] == [Rendezvous(shuffled).node(key) for key in keys]


def test_another_process_finds_a_key_on_the_same_node() -> None:
    listed = ["10.0.0.1:6379/0", "10.0.0.2:6379/0", "10.0.0.3:6379/0"]
    found = [Rendezvous(listed).node(key) for key in KEYS[:100]]

    program = f"from services.chassis.hashing import Rendezvous; print(*map(Rendezvous({listed}).node, {KEYS[:100]}))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert other.stdout.split() == found
    assert set(found) == set(listed)


def test_without_a_node_there_is_no_place() -> None:
    with pytest.raises(ValueError, match="there is no node"):
        Rendezvous([])
