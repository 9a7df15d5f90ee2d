"""Tokens of callers: JSON Web Tokens (RFC 7519), signed with EdDSA or RS256.

A token names its key (`kid`), who has made it (`iss`), who it is for (`aud`), until when it is good
(`exp`) and whose it is (`sub`): the id of a user or, if its `scope` has `service`, the name of a service.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.chassis.call import Caller
from services.chassis.errors import UnauthenticatedError
from services.chassis.settings import StartError

SERVICE_SCOPE = "service"
HIGHEST_USER_ID = 2**63 - 1
RSA_BITS = 2048
"""Shorter keys are not safe (NIST SP 800-57)."""
LEEWAY_SECONDS = 5
"""How far the clocks of who signs and who checks may be apart."""
REMEMBERED = 10_000
"""How many tokens are known without a look at their signature, which takes 0.1 ms."""


class JsonWebTokens:
    """Checks tokens with public keys, which are named by their `kid`."""

    def __init__(
        self, keys: Mapping[str, jwt.PyJWK], issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        """Whose a token is, and until when; the one that was used last comes last."""

    @classmethod
    def of_file(cls, file: Path, variable: str, issuer: str, audience: str) -> Self:
        """With the keys of a JWK set (RFC 7517). Raises StartError, which names the variable, if one is of no use."""
        try:
            keys = [_usable(key) for key in json.loads(file.read_text())["keys"]]
            by_id = {cast("str", key.key_id): key for key in keys}
        except OSError:
            raise StartError(f"{variable}={file}: cannot be read") from None
        except (ValueError, TypeError, KeyError, jwt.PyJWTError) as error:
            why = error if isinstance(error, UnusableKeyError) else "is no JSON Web Key Set"
            raise StartError(f"{variable}={file}: {why}") from None
        if not 0 < len(keys) == len(by_id):
            raise StartError(f"{variable}={file}: needs at least one key, and each kid once")
        return cls(by_id, issuer, audience)

    def caller(self, token: str | None) -> Caller:
        """Whose token it is. Raises UnauthenticatedError if it is not valid."""
        known = self._known.get(token or "")
        if known is None:
            known = self._checked(token or "")
            self._known[token or ""] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(token or "")
        caller, ends_at = known
        if self._clock() >= ends_at:
            del self._known[token or ""]
            raise UnauthenticatedError("a valid token is needed")
        return caller

    def _checked(self, token: str) -> tuple[Caller, float]:
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return _caller(claims), claims["exp"] + LEEWAY_SECONDS
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise UnauthenticatedError("a valid token is needed") from None


class UnusableKeyError(ValueError):
    """A key that no token should be checked with."""


def _usable(data: dict[str, Any]) -> jwt.PyJWK:
    if not isinstance(data.get("kid"), str):
        raise UnusableKeyError("holds a key without a kid")
    if "d" in data:
        raise UnusableKeyError(f"holds a private key: {data['kid']}")
    key = jwt.PyJWK(data)
    is_ed25519 = key.algorithm_name == "EdDSA" and isinstance(key.key, Ed25519PublicKey)
    is_rsa = key.algorithm_name == "RS256" and isinstance(key.key, RSAPublicKey) and key.key.key_size >= RSA_BITS
    if not (is_ed25519 or is_rsa):
        raise UnusableKeyError(f"holds a key that is not Ed25519 and not RSA of {RSA_BITS} bits: {data['kid']}")
    return key


def _caller(claims: Mapping[str, Any]) -> Caller:
    """Whose claims they are. Raises ValueError if they are nobody's."""
    subject, scopes = claims["sub"], str(claims.get("scope", "")).split()
    if SERVICE_SCOPE in scopes:
        return Caller(subject, None)
    user_id = int(subject)
    if subject != str(user_id) or not 0 < user_id <= HIGHEST_USER_ID:
        raise ValueError(subject)
    return Caller(subject, user_id)
