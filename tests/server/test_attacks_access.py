"""Attacks by strangers and by web pages.

One for each guard of docs/security.md; it fails when its guard is taken away.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.access import access_for, find_key
from server.basic import PAGES
from server.gate import OPEN
from server.keys import VARIABLE, BadKeys, read_keys
from server.run import access_of, bind
from tests.server.conftest import Running, serving, start
from tests.server.refused import refused

# ---- who may ask -------------------------------------------------------------------------------------

KEY, OTHER = "sk-right-0123456789", "sk-other-9876543210"


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    """A server with two keys that answers to names of this machine alone."""
    running, stop = start(access=access_for("127.0.0.1", [KEY, OTHER]))
    yield running
    stop()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_every_route_but_two_needs_a_key(keyed: Running) -> None:
    page = httpx.get(f"{keyed.url}/openapi.json", headers=bearer(KEY)).json()
    routes = [(method, path) for path, methods in page["paths"].items() for method in methods]
    routes += [("get", path) for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/nowhere", "/")]
    routes += [("get", "/health/"), ("get", "//health"), ("get", "/Health"), ("get", "/%2e/health")]
    assert ("get", "/metrics") in routes and len(routes) > 15
    for method, path in routes:
        answer = httpx.request(method, keyed.url + path)
        if path in OPEN:
            assert answer.status_code == 200
        else:
            assert refused(answer, 401)["code"] == "invalid_api_key", path
            assert ("Basic" in answer.headers["www-authenticate"]) == (method == "get" and path in PAGES), path
    assert OPEN == {"/health", "/ready"}


@pytest.mark.parametrize(
    "value",
    ["", KEY, "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", f"Bearer {KEY} {OTHER}"],
)
def test_what_is_no_key_does_not_open(keyed: Running, value: str) -> None:
    assert httpx.get(f"{keyed.url}/v1/models", headers={"authorization": value}).status_code == 401


def test_both_keys_open_and_two_at_once_do_not(keyed: Running) -> None:
    for key in (KEY, OTHER):
        assert httpx.get(f"{keyed.url}/v1/models", headers=bearer(key)).status_code == 200
    twice = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer guess")]
    assert httpx.get(f"{keyed.url}/v1/models", headers=twice).status_code == 401


def test_keys_are_kept_as_hashes_and_all_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    access = access_for("127.0.0.1", [KEY, OTHER])
    assert KEY not in repr(access) and KEY.encode() not in b"".join(key.digest for key in access.keys)
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("server.access.hmac.compare_digest", lambda a, b: bool(compared.append((a, b))) or a == b)
    for given, right in ((KEY, True), (OTHER, True), ("wrong", False)):
        compared.clear()
        assert (find_key(access, given) is not None) is right
        assert [len(a) for a, _ in compared] == [32, 32], "hashes, and no stop at the first that is right"


def test_no_key_and_no_prompt_is_logged(keyed: Running, caplog: pytest.LogCaptureFixture) -> None:
    secret = "a prompt that is nobody's business"
    with caplog.at_level(logging.DEBUG):
        body = {"model": "tiny", "messages": [{"role": "user", "content": secret}], "max_tokens": 2}
        for key, status in ((KEY, 200), ("sk-guessed-wrong", 401)):
            url = f"{keyed.url}/v1/chat/completions"
            assert httpx.post(url, json=body, headers=bearer(key), timeout=30).status_code == status
        httpx.post(f"{keyed.url}/v1/chat/completions", json=body | {"n": 0}, headers=bearer(KEY), timeout=30)
    theirs = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert any("prompt_tokens=" in said for said in theirs), "the request itself is logged"
    assert not any(text in said for said in theirs for text in (secret, KEY, "sk-guessed-wrong"))


def test_keys_come_from_a_file_and_the_environment_and_none_is_no_accident(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the team\n{KEY}\n\n")
    assert read_keys(file, {VARIABLE: OTHER}) == [KEY, OTHER] and read_keys(None, {}) == []
    for text in ("", "# none\n", "k\u00e9y", "two words"):
        file.write_text(text)
        with pytest.raises(BadKeys, match="API key"):
            read_keys(file, {})
    for source in (lambda: read_keys(None, {VARIABLE: " "}), lambda: read_keys(tmp_path / "nowhere", {})):
        with pytest.raises(BadKeys):
            source()


def test_a_key_leaves_the_environment_and_an_open_server_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for host, key, warned in (("0.0.0.0", None, True), ("0.0.0.0", KEY, False), ("127.0.0.1", None, False)):
        caplog.clear()
        if key:
            monkeypatch.setenv(VARIABLE, key)
        with bind(host, 0) as listener:
            assert bool(access_of(listener, None, ()).keys) == bool(key)
        assert VARIABLE not in os.environ, "the engine's process would inherit it"
        assert ("no API key" in caplog.text) == warned


def test_on_loopback_other_names_in_the_host_header_are_refused(keyed: Running) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "0.0.0.0", ""):
        answer = httpx.get(f"{keyed.url}/health", headers={"host": host})
        assert refused(answer, 403)["code"] == "host_not_allowed", host
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.2:9", "[::1]:8000", "x.localhost"):
        assert httpx.get(f"{keyed.url}/health", headers={"host": host}).status_code == 200, host


def test_serve_checks_hosts_and_keys_as_it_is_started(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    with serving(model, "--api-key-file", str(file), "--allowed-host", "my.example") as url:
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers=bearer(KEY)).status_code == 200
        assert httpx.get(f"{url}/ready", headers={"host": "evil.example"}).status_code == 403
        assert httpx.get(f"{url}/ready", headers={"host": "my.example"}).status_code == 200


def test_metrics_at_their_own_port_need_no_key_and_are_nowhere_else(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with serving(model, "--api-key-file", str(file), "--metrics-port", str(port)) as url:
        side = f"http://127.0.0.1:{port}"
        assert "rtriton_engine_restarts_total" in httpx.get(f"{side}/metrics").text
        for path in ("/v1/models", "/docs", "/health", "/metrics/"):
            assert httpx.get(side + path, headers=bearer(KEY)).status_code == 404, path
        assert httpx.get(f"{url}/metrics", headers=bearer(KEY)).status_code == 404
        assert httpx.get(f"{url}/v1/models", headers=bearer(KEY)).status_code == 200


def test_pages_of_other_origins_read_nothing_and_send_nothing(server: Running) -> None:
    origin = {"origin": "https://evil.example"}
    answer = httpx.get(f"{server.url}/v1/models", headers=origin)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = origin | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = httpx.options(f"{server.url}/v1/chat/completions", headers=preflight)
    assert answer.status_code == 405 and not [name for name in answer.headers if name.startswith("access-control")]
    # what a page may send without asking first is not read as JSON
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        body = b'{"model": "tiny", "prompt": "x"}'
        sent = httpx.post(f"{server.url}/v1/completions", content=body, headers=origin | {"content-type": kind})
        assert refused(sent)["code"] == "invalid_json"
