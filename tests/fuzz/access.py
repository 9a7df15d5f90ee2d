"""Who may call what, as the contract says it, and tokens for those who call."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from zlib import crc32

from google.protobuf.message import Message

from services.token import signer
from tests.fuzz.operations import Operation

VARIABLE = "FUZZ_ACCESS_FOLDER"
USERS = (1, 2)
_ONE_IN = 8
"""How often a request brings the token of the wrong user."""


class Access(Protocol):
    """Whom the services refuse."""

    def refusal(self, operation: Operation, message: Message, token: str | None) -> int | None:
        """The status with which a caller is refused who brings this token, whatever rules the message breaks."""
        ...


@dataclass(frozen=True)
class Off:
    """Access is off: a token for what needs one."""

    token: str

    def refusal(self, operation: Operation, message: Message, token: str | None) -> int | None:
        return 401 if operation.access == "token" and token != self.token else None


@dataclass(frozen=True)
class On:
    """Access is on: whose the tokens are that are good."""

    users: Mapping[str, int]

    def refusal(self, operation: Operation, message: Message, token: str | None) -> int | None:
        if operation.access == "public":
            return None
        user = self.users.get(token or "")
        if user is None:
            return 401
        is_own = operation.access == "own_user" and getattr(message, operation.user_field) == user
        return None if is_own or operation.access in {"token", "owner"} else 403


@dataclass
class Callers:
    """The two users, and which of them makes a request."""

    tokens: Mapping[int, str]
    owners: dict[str, int] = field(default_factory=dict)
    """Whose the orders are that were made."""

    def caller(self, request: str, user: object, order: object, *, always_right: bool) -> int:
        """Mostly the user of the request or of its order; now and again, and where there is none, either."""
        number = crc32(request.encode())
        right = self._user(user) or self.owners.get(_plain(order))
        either = USERS[number // _ONE_IN % len(USERS)]
        if right is None or not (always_right or number % _ONE_IN):
            return either
        return right

    def made(self, order: object, token: str) -> None:
        """Somebody has made an order."""
        for user, own in self.tokens.items():
            if own == token:
                self.owners[_plain(order)] = user

    def _user(self, user: object) -> int | None:
        return next((each for each in self.tokens if str(each) == _plain(user)), None)


def _plain(number: object) -> str:
    """A number as digits: JSON has 1.0 for 1, too."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def callers() -> Callers | None:
    """Those of a run with access on."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    signs = signer(Path(folder))
    return Callers({user: signs.of_user(user) for user in USERS})
