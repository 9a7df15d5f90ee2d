"""Where the shards are that replicas share."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from services.chassis.settings import is_url

DEFAULT_PORT = 6379
FORM = "each must be redis://[user:password@]host[:port][/database]"


def _checked(urls: SecretStr) -> SecretStr:
    names = [shard_name(url) for url in split_urls(urls)]
    if len(names) != len(set(names)):
        raise ValueError("two of the URLs are the same database")
    return urls


RedisUrls = Annotated[SecretStr, AfterValidator(_checked)]
"""`redis://[user:password@]host[:port][/database]`, separated by commas."""


def split_urls(urls: SecretStr) -> list[str]:
    """The URLs one by one."""
    return urls.get_secret_value().split(",")


def shard_name(url: str) -> str:
    """The name of a shard: its URL without what may change while its keys stay. Raises ValueError if it is no URL."""
    if not is_url(url, "redis"):
        raise ValueError(FORM)
    parts = urlsplit(url)
    database = parts.path.removeprefix("/") or "0"
    if not parts.hostname or parts.query or parts.fragment or not database.isdecimal():
        raise ValueError(FORM)
    return f"{parts.hostname}:{parts.port or DEFAULT_PORT}/{database}"
