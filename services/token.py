"""Signs tokens for development: `python -m services.token --user 1`.

The key is made when it is first needed, and never leaves the folder. Whoever runs this for
others has an identity provider instead, and gives the services its JSON Web Key Set.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from services.chassis.tokens import HIGHEST_USER_ID, SERVICE_SCOPE

FOLDER = Path(".data/access")
ISSUER = AUDIENCE = "marketplace"
HOURS = 24


@dataclass(frozen=True)
class Signer:
    """A private key, and the file with its public half."""

    key: Ed25519PrivateKey
    key_id: str
    keys: Path
    """A JSON Web Key Set, for the services."""

    def token(self, subject: str, hours: float, scope: str = "") -> str:
        """A token that is good for so long."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + round(hours * 3600)}
        if scope:
            claims["scope"] = scope
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": self.key_id})

    def of_user(self, user_id: int, hours: float = HOURS) -> str:
        """A token of a user."""
        return self.token(str(user_id), hours)

    def of_service(self, name: str, hours: float = HOURS) -> str:
        """A token of a service, which may act for any user."""
        return self.token(name, hours, SERVICE_SCOPE)


def signer(folder: Path) -> Signer:
    """The signer whose key is in the folder, which is made if it is not there."""
    private, keys = folder / "private.pem", folder / "keys.json"
    if not private.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(private, keys)
    key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{private} is no Ed25519 key")
    return Signer(key, json.loads(keys.read_text())["keys"][0]["kid"], keys)


def _make(private: Path, keys: Path) -> None:
    key = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": uuid4().hex, "alg": "EdDSA", "use": "sig"}
    keys.write_text(json.dumps({"keys": [public]}, indent=2) + "\n")
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def user_id(text: str) -> int:
    """The id of a user."""
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_USER_ID:
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a user, which is a number from 1 to {HIGHEST_USER_ID}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.token", description="Prints a token for development.")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", type=user_id, help="the id of a user")
    whose.add_argument("--service", help="the name of a service, which may act for any user")
    parser.add_argument("--hours", type=float, default=HOURS, help="how long it is good (%(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the key is (%(default)s)")
    arguments = parser.parse_args()
    signs = signer(arguments.folder)
    if arguments.service:
        token = signs.of_service(arguments.service, arguments.hours)
    else:
        token = signs.of_user(arguments.user, arguments.hours)
    sys.stdout.write(f"{token}\n")


if __name__ == "__main__":
    main()
