"""Signed tokens: which are good, for how long, and with which keys."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from services.chassis.call import Caller
from services.chassis.errors import UnauthenticatedError
from services.chassis.settings import StartError
from services.chassis.tokens import LEEWAY_SECONDS, REMEMBERED, JsonWebTokens
from services.token import Signer, signer
from tests.tokens import OTHER_USER, USER, bad_tokens, claims


@pytest.fixture
def signs(tmp_path: Path) -> Signer:
    return signer(tmp_path / "own")


def tokens_of(keys: Path) -> JsonWebTokens:
    return JsonWebTokens.of_file(keys, "LOMS_ACCESS_KEYS", "marketplace", "marketplace")


def test_a_token_is_of_a_user_or_of_a_service(signs: Signer) -> None:
    tokens = tokens_of(signs.keys)

    assert tokens.caller(signs.of_user(USER)) == Caller("1", 1)
    assert tokens.caller(signs.of_service("cart")) == Caller("cart", None)
    assert tokens.caller(signs.token("5", 1, "read write")) == Caller("5", 5)
    assert tokens.caller(signs.token("5", 1, "read service")) == Caller("5", None)


def test_no_token_and_no_bad_one_is_good(signs: Signer, tmp_path: Path) -> None:
    tokens = tokens_of(signs.keys)
    tokens.caller(signs.of_user(USER))

    for kind, token in [("none", None), *bad_tokens(signs, tmp_path / "stranger").items()]:
        with pytest.raises(UnauthenticatedError) as raised:
            tokens.caller(token)
        assert (raised.value.message, raised.value.facts) == ("a valid token is needed", {}), kind


def test_a_token_signed_with_rs256_is_good_and_the_kid_decides_the_algorithm(signs: Signer, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "rsa", "alg": "RS256"}
    [own] = json.loads(signs.keys.read_text())["keys"]
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [own, public]}))
    tokens = tokens_of(keys)

    assert tokens.caller(jwt.encode(claims(), key, "RS256", headers={"kid": "rsa"})).user_id == USER
    assert tokens.caller(signs.of_user(OTHER_USER)).user_id == OTHER_USER
    for algorithm, kid in [("RS256", signs.key_id), ("RS512", "rsa"), ("PS256", "rsa")]:
        with pytest.raises(UnauthenticatedError):
            tokens.caller(jwt.encode(claims(), key, algorithm, headers={"kid": kid}))


def test_a_known_token_ends_when_it_says(signs: Signer) -> None:
    now = time.time()
    tokens = JsonWebTokens.of_file(signs.keys, "X", "marketplace", "marketplace")
    tokens._clock = lambda: now
    token = jwt.encode(claims(exp=int(now) + 60), signs.key, "EdDSA", headers={"kid": signs.key_id})
    ends_at = int(now) + 60 + LEEWAY_SECONDS
    tokens.caller(token)

    now = ends_at - 0.1
    tokens.caller(token)
    now = ends_at
    with pytest.raises(UnauthenticatedError):
        tokens.caller(token)


def test_no_more_tokens_are_remembered_than_have_room(signs: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.tokens.REMEMBERED", 3)
    tokens = tokens_of(signs.keys)
    assert REMEMBERED > 3

    for user_id in range(1, 6):
        tokens.caller(signs.of_user(user_id))
        tokens.caller(signs.of_user(1))

    assert {caller.user_id for caller, _ in tokens._known.values()} == {1, 4, 5}


KEY: dict[str, Any] = {"kty": "OKP", "crv": "Ed25519", "x": "29l-npu5N8t31hBshsqOVDtpA752vlLtxwYgy2YEmuA", "kid": "a"}
WEAK = "holds a key that is not Ed25519 and not RSA of 2048 bits"
SHORT = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is no JSON Web Key Set"),
        ("[]", "is no JSON Web Key Set"),
        ('{"keys": 5}', "is no JSON Web Key Set"),
        ({"keys": []}, "needs at least one key, and each kid once"),
        ({"keys": [KEY, KEY]}, "needs at least one key, and each kid once"),
        ({"keys": [{**KEY, "x": "AA"}]}, "is no JSON Web Key Set"),
        ({"keys": [{**KEY, "kid": None}]}, "holds a key without a kid"),
        (
            {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]},
            "holds a key that is not Ed25519 and not RSA of 2048 bits: a",
        ),
        ({"keys": [{**SHORT, "kid": "b"}]}, "holds a key that is not Ed25519 and not RSA of 2048 bits: b"),
    ],
)
def test_keys_of_no_use_stop_the_start(content: Any, why: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(StartError) as raised:
        tokens_of(keys)

    assert str(raised.value) == f"LOMS_ACCESS_KEYS={keys}: {why}"


def test_a_private_key_stops_the_start_and_is_not_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{**KEY, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}))

    with pytest.raises(StartError) as raised:
        tokens_of(keys)

    assert str(raised.value) == f"LOMS_ACCESS_KEYS={keys}: holds a private key: a"


def test_keys_that_are_not_there_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"LOMS_ACCESS_KEYS=.*: cannot be read"):
        tokens_of(tmp_path / "none.json")


def test_the_development_key_stays_the_same_and_is_for_its_owner_only(tmp_path: Path) -> None:
    first, again = signer(tmp_path), signer(tmp_path)

    assert tokens_of(again.keys).caller(first.of_user(USER)).user_id == USER
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600
