"""Who may call: what the contract says of each RPC, asked of the caller's token."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from chassis.v1 import options_pb2 as options
from google.protobuf.message import Message

from services.chassis.call import Caller
from services.chassis.contract import Rpc
from services.chassis.errors import PermissionDeniedError, UnauthenticatedError
from services.chassis.log import Logger
from services.chassis.settings import ServiceSettings

SCHEME = "bearer "


def bearer_token(authorization: str) -> str | None:
    """The token of an `authorization` header; None if it holds none."""
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return None
    return authorization[len(SCHEME) :].strip() or None


def token_of(authorizations: Sequence[str]) -> str | None:
    """The token of a call with these `authorization` headers. Of two it would not be clear which one counts."""
    return bearer_token(authorizations[0]) if len(authorizations) == 1 else None


class Access(Protocol):
    """Decides whether a caller may call."""

    def check_token(self, token: str | None) -> None:
        """For what is not in the contract. Raises UnauthenticatedError when access is on and the token not valid."""
        ...

    def check(self, rpc: Rpc, token: str | None, request: Message) -> Caller | None:
        """Who calls, or None if that does not matter. Raises UnauthenticatedError when the RPC
        needs a better token, and PermissionDeniedError when it is not for this caller.
        """
        ...


class KnownTokens:
    """Access is off: a fixed set of tokens for the RPCs whose access is ACCESS_TOKEN, and all else for everybody."""

    def __init__(self, tokens: Collection[str] = ()) -> None:
        self._tokens = frozenset(tokens)

    def check_token(self, token: str | None) -> None:
        pass

    def check(self, rpc: Rpc, token: str | None, request: Message) -> Caller | None:
        if rpc.access == options.ACCESS_TOKEN and token not in self._tokens:
            raise UnauthenticatedError("a valid token is needed")
        return None


class Tokens(Protocol):
    """Knows valid tokens."""

    def caller(self, token: str | None) -> Caller:
        """Whose token it is. Raises UnauthenticatedError if it is not valid."""
        ...


class SignedTokens:
    """Access is on: each caller is somebody, and may do what the contract says.

    An RPC whose access is ACCESS_OWNER is for everybody with a token: its storage leaves
    out what is not `current_owner`'s.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def check_token(self, token: str | None) -> None:
        self._tokens.caller(token)

    def check(self, rpc: Rpc, token: str | None, request: Message) -> Caller | None:
        if rpc.access == options.ACCESS_PUBLIC:
            return None
        caller = self._tokens.caller(token)
        if not caller.is_service and not _is_for_user(rpc, caller.user_id, request):
            raise PermissionDeniedError("the token is not for this call")
        return caller


def _is_for_user(rpc: Rpc, user_id: int | None, request: Message) -> bool:
    if rpc.access == options.ACCESS_OWN_USER:
        return bool(getattr(request, rpc.user_field) == user_id)
    return rpc.access in {options.ACCESS_TOKEN, options.ACCESS_OWNER}


def access_of(settings: ServiceSettings, known_tokens: Collection[str], log: Logger) -> Access:
    """Access as the settings say. Raises StartError when the keys are of no use."""
    if settings.access_keys is None:
        log.info("access is off", setting=settings.variable("access_keys"))
        return KnownTokens(known_tokens)
    return SignedTokens(_signed(settings, settings.access_keys))


def check_access(settings: ServiceSettings) -> None:
    """Raises StartError when the keys are of no use."""
    if settings.access_keys is not None:
        _signed(settings, settings.access_keys)


def _signed(settings: ServiceSettings, keys: Path) -> Tokens:
    from services.chassis.tokens import JsonWebTokens  # noqa: PLC0415  it takes 0.1 s, and access may be off

    variable = settings.variable("access_keys")
    return JsonWebTokens.of_file(keys, variable, settings.access_issuer, settings.access_audience)
