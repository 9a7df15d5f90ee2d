"""Tokens that nobody should take."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.token import Signer, signer

USER, OTHER_USER = 1, 2


def claims(**changes: Any) -> dict[str, Any]:
    """Those of USER's token for the next minute; a change to None leaves one out."""
    said = {"iss": "marketplace", "aud": "marketplace", "sub": str(USER), "exp": int(time.time()) + 60, **changes}
    return {name: value for name, value in said.items() if value is not None}


def bad_tokens(signs: Signer, folder: Path) -> dict[str, str]:
    """Tokens that differ from a good one of USER in one way each. Another signer has its key in the folder."""
    kid = {"kid": signs.key_id}

    def signed(**changes: Any) -> str:
        return jwt.encode(claims(**changes), signs.key, algorithm="EdDSA", headers=kid)

    good = signed()
    head, body, signature = good.split(".")
    now = int(time.time())
    return {
        "empty": "",
        "not a token": "testtoken",
        "truncated": good[:-10],
        "without its signature": f"{head}.{body}.",
        "with the algorithm none": f"{_encoded({'alg': 'none', **kid})}.{body}.",
        "signed with the public key": _signed_with_public_key(signs),
        "with another subject under the signature": f"{head}.{_encoded(claims(sub=str(OTHER_USER)))}.{signature}",
        "with an unknown kid": jwt.encode(claims(), signs.key, algorithm="EdDSA", headers={"kid": "unknown"}),
        "without a kid": jwt.encode(claims(), signs.key, algorithm="EdDSA"),
        "with a kid that is no text": f"{_encoded({'alg': 'EdDSA', 'kid': [7]})}.{body}.{signature}",
        "of another environment": signer(folder).of_user(USER),
        "of another key under our kid": jwt.encode(claims(), Ed25519PrivateKey.generate(), "EdDSA", headers=kid),
        "expired": signed(exp=now - 60),
        "without an end": signed(exp=None),
        "not valid yet": signed(nbf=now + 60),
        "from somebody else": signed(iss="somebody"),
        "from nobody": signed(iss=None),
        "for somebody else": signed(aud="somebody"),
        "for nobody": signed(aud=None),
        "of nobody": signed(sub=None),
        "of a name without the scope": signed(sub="cart"),
        "of user 0": signed(sub="0"),
        "of a user in another spelling": signed(sub="01"),
        "of a user beyond all ids": signed(sub=str(2**63)),
    }


def _signed_with_public_key(signs: Signer) -> str:
    """HMAC, whose key is what everybody knows. PyJWT does not sign so itself."""
    signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': signs.key_id})}.{_encoded(claims())}"
    public = signs.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{signed}.{_base64(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
