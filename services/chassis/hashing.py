"""Consistent hashing: which of several nodes a key lives on.

It is rendezvous hashing: every node draws a number for the key, and the highest draw wins. What
each guarantee relies on:

- the same everywhere: a draw depends on the names of the node and the key alone, not on the order
  in which nodes are listed, the process or the machine;
- even: draws are independent, so each of n nodes wins one key in n;
- few keys move: a node that is added can only win keys for itself, and one that is taken away
  only gives away its own.
"""

from collections.abc import Iterable
from hashlib import blake2b

DRAW_BYTES = 8


class Rendezvous:
    """Nodes, by their names, and the keys that live on them."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = [(node, blake2b(node.encode() + b"\0", digest_size=DRAW_BYTES)) for node in sorted(set(nodes))]
        if not self._nodes:
            raise ValueError("there is no node")

    def node(self, key: str) -> str:
        """The name of the node that the key lives on."""
        encoded = key.encode()
        winner, highest = "", b""
        for node, begun in self._nodes:
            draw = begun.copy()
            draw.update(encoded)
            drawn = draw.digest()
            if drawn >= highest:
                winner, highest = node, drawn
        return winner
