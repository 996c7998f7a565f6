"""Requests as they come over a connection: methods, paths, offers to speak something else."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.server.conftest import Running
from tests.server.refused import refused

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
"""As Java's client begins every request that is not encrypted."""


@pytest.mark.parametrize(
    "path", ["/health", "/ready", "/v1/models", "/v1/models/tiny", "/", "/page/main.js", "/metrics"]
)
def test_head_is_get_without_a_body(server: Running, path: str) -> None:
    head, get = httpx.head(server.url + path), httpx.get(server.url + path)
    assert head.status_code == get.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/completions"), ("DELETE", "/v1/models"), ("HEAD", "/tokenize")]
)
def test_another_method_is_told_which_one_is_taken(server: Running, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == 405 and answer.headers["allow"] in ("GET", "POST")
    if method != "HEAD":
        error = refused(answer, 405)
        assert error["code"] == "method_not_allowed" and f"takes {answer.headers['allow']}" in error["message"]


@pytest.mark.parametrize("path", ["/v1/completions/", "/docs/", "/v1//models", "/health/"])
def test_a_path_that_is_not_there_leads_nowhere_else(server: Running, path: str) -> None:
    for host in ("localhost", "localhost:1"):
        error = refused(httpx.get(server.url + path, headers={"host": host}), 404)
        assert error["code"] == "not_found"


# ---- upgrades ----------------------------------------------------------------------------------------


def completion(model: str, headers: bytes = b"") -> tuple[bytes, bytes]:
    """A head and its body."""
    body = json.dumps({"model": model, "prompt": "a", "max_tokens": 1}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + headers + b"Content-Length: %d\r\n\r\n" % len(body), body


def connect(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port), timeout=5)


def answers(connection: socket.socket, count: int) -> bytes:
    got = b""
    while got.count(b"HTTP/1.1 ") < count or not got.rstrip().endswith(b"}"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        got += piece
    return got


@pytest.mark.parametrize("spelling", [UPGRADE, UPGRADE.lower(), b"Connection: upgrade\r\nupgrade:websocket\r\n"])
def test_an_upgrade_is_passed_over_and_its_request_keeps_its_body(url: str, spelling: bytes) -> None:
    head, body = completion("tiny-chat", spelling)
    with connect(url) as connection:
        for pieces in ([head + body], [head, body]):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)
            assert answers(connection, 1).startswith(b"HTTP/1.1 200 ")


def test_no_body_is_taken_for_a_request(url: str) -> None:
    hidden = b"GET /version HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: hidden\r\n\r\n"
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    at = head.index(b"grade: h2c")
    for pieces in ([head + hidden], [head, hidden], [head[:at], head[at:], hidden], [head[:at], head[at:] + hidden]):
        got = b""
        with connect(url) as connection:
            connection.settimeout(0.5)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.1)
                while piece := connection.recv(1 << 16):
                    got += piece
            except (TimeoutError, ConnectionError):
                pass
        assert b"hidden" not in got and b" 200 " not in got, (pieces, got)
