"""Makes what the stack keeps secret: `python -m compose.secrets`.

Passwords are made once; the token with which the cart asks for products is made anew each
time. Both stand in .data/stack/secrets.env, and the keys that tokens are checked with in
.data/access.
"""

import os
import re
import secrets
from pathlib import Path

from compose.stack import FILE, SECRETS, VARIABLE, read_env
from services.token import FOLDER, signer

PASSWORD = re.compile(r"\w+_PASSWORD")
TOKEN = "CART_PRODUCT_TOKEN"  # noqa: S105  it is the name of one
TOKEN_HOURS = 30 * 24


def make_secrets(file: Path, keys: Path) -> None:
    """Has every password of the stack in the file, and a token whose key is in the folder of the keys."""
    kept = read_env(file)
    passwords = {name: kept.get(name) or secrets.token_hex() for name in names_of_passwords()}
    token = signer(keys).of_service("cart", TOKEN_HOURS)
    write({**passwords, TOKEN: token}, file)


def names_of_passwords() -> list[str]:
    """The variables of compose.yaml that are passwords."""
    names = {found["name"] for found in VARIABLE.finditer(FILE.read_text())}
    return sorted(filter(PASSWORD.fullmatch, names))


def write(values: dict[str, str], file: Path) -> None:
    """Replaces the file, which nobody else may read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as lines:
        lines.writelines(f"{name}={value}\n" for name, value in values.items())
        lines.flush()
        os.fsync(lines.fileno())
    new.replace(file)


if __name__ == "__main__":
    make_secrets(SECRETS, SECRETS.parents[2] / FOLDER)
