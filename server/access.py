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
from collections.abc import Iterable
from dataclasses import dataclass, field

from server.keys import Key, hashed


@dataclass(frozen=True)
class Access:
    """No `keys` let everyone in. `hosts` are the names of this server; None takes any."""

    keys: tuple[Key, ...] = ()
    hosts: frozenset[str] | None = None
    metrics_port: int | None = None
    """The port that `/metrics`, without a key, is at instead."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """What accounts are made with; another one in each process."""


def access_for(address: str, keys: Iterable[str | Key] = (), hosts: Iterable[str] = ()) -> Access:
    """What holds for a server that listens at `address`, an IP address. `hosts` are names beside those of loopback."""
    names = frozenset(name.lower() for name in hosts)
    ring = tuple(key if isinstance(key, Key) else Key(hashed(key)) for key in keys)
    return Access(ring, names if is_loopback(address) or names else None)


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to it."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def find_key(access: Access, given: str) -> Key | None:
    """The key that `given` is, if it is one. All are compared, each in constant time."""
    asked = hashed(given)
    same = [hmac.compare_digest(asked, key.digest) for key in access.keys]
    return access.keys[same.index(True)] if any(same) else None


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
