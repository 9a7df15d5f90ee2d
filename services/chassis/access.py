"""Who may call: bearer tokens."""

from collections.abc import Collection
from typing import Protocol

from chassis.v1 import options_pb2 as options

from services.chassis.contract import Rpc
from services.chassis.errors import UnauthenticatedError

SCHEME = "bearer "


def bearer_token(authorization: str) -> str | None:
    """The token of an `authorization` header; None if it holds none."""
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return None
    return authorization[len(SCHEME) :].strip() or None


class Access(Protocol):
    """Decides whether a caller may call."""

    def check(self, rpc: Rpc, token: str | None) -> None:
        """Raises UnauthenticatedError when the RPC needs a better token."""
        ...


class KnownTokens:
    """Access by a fixed set of tokens, for the RPCs whose access is ACCESS_TOKEN."""

    def __init__(self, tokens: Collection[str] = ()) -> None:
        self._tokens = frozenset(tokens)

    def check(self, rpc: Rpc, token: str | None) -> None:
        if rpc.access == options.ACCESS_TOKEN and token not in self._tokens:
            raise UnauthenticatedError("a valid token is needed")
