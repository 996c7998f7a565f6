"""Who may ask: API keys, and on a loopback address the names that a request may call this server by.

Of a key only its hash is kept. A page of the web can have its own name point to 127.0.0.1 and then read what a local
server answers; the Host header tells such requests.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = "RTRITON_API_KEY"


class BadKeys(ValueError):
    """Keys that cannot be used; the message never holds one."""


@dataclass(frozen=True)
class Access:
    """`keys` are hashes; none lets everyone in. `hosts` are the names of this server; None takes any."""

    keys: tuple[bytes, ...] = ()
    hosts: frozenset[str] | None = None
    metrics_port: int | None = None
    """The port that `/metrics`, without a key, is at instead."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """What accounts are made with; another one in each process."""


def access_for(address: str, keys: Iterable[str] = (), hosts: Iterable[str] = ()) -> Access:
    """What holds for a server that listens at `address`, an IP address. `hosts` are names beside those of loopback."""
    names = frozenset(name.lower() for name in hosts)
    return Access(tuple(map(_hash, keys)), names if is_loopback(address) or names else None)


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to it."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def read_keys(file: Path | None, environment: Mapping[str, str]) -> list[str]:
    """The keys of a file, one a line, and of the environment. A source that is named and has none is an error: it
    would open the server to all.
    """
    keys: list[str] = []
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadKeys(f"the API keys in {file} cannot be read: {getattr(error, 'strerror', 'not text')}") from None
        keys += _checked([line for line in lines if line and not line.startswith("#")], f"the file {file}")
    if VARIABLE in environment:
        keys += _checked(environment[VARIABLE].split(), f"the variable {VARIABLE}")
    return keys


def _checked(keys: list[str], source: str) -> list[str]:
    if not keys:
        raise BadKeys(f"{source} holds no API key; write one into it, or do without it")
    if not all(re.fullmatch(r"[!-~]+", key) for key in keys):
        raise BadKeys(f"{source} holds an API key with characters that no HTTP header can carry; use ASCII")
    return keys


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def is_key(access: Access, given: str) -> bool:
    """Whether `given` is one of the keys. All are compared, each in constant time."""
    asked = _hash(given)
    return sum(hmac.compare_digest(asked, key) for key in access.keys) > 0


def bearer(authorization: str | None) -> str | None:
    """The key in an Authorization header."""
    if authorization is None or authorization[:7].lower() != "bearer ":
        return None
    return authorization[7:].strip()


def account_of(access: Access, authorization: str | None) -> str:
    """Whose request it is: a name made of the API key, from which nobody can tell the key. Without a key, none."""
    key = bearer(authorization)
    if not key:
        return ""
    return hmac.new(access.secret, key.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def is_name(access: Access, host: str) -> bool:
    """Whether a Host header calls this server by one of its names."""
    if access.hosts is None:
        return True
    name = re.sub(r":\d*$", "", host).lower()
    if name in access.hosts or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return is_loopback(name.strip("[]"))
    except ValueError:
        return False
