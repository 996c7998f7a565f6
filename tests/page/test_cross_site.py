"""A page of another site, in a browser that remembers this server's password: what it can make the browser do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from server import basic
from server.access import access_for
from tests.explore import browser
from tests.page.scripted import Script, served

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
KEY = "sk-right-0123456789"
EVIL = b"<!doctype html><title>evil</title><iframe name=hole></iframe>"
ATTACKS = """async (target) => {
    const json = JSON.stringify({ model: "tiny", prompt: "evil", max_tokens: 1 });
    const post = { method: "POST", credentials: "include", body: json };
    const tried = async (path, options) => {
        try {
            const answer = await fetch(target + path, options);
            return [answer.type, answer.status, await answer.text()].join(" ");
        } catch (error) {
            return error.name;
        }
    };
    const marked = { "content-type": "application/json", "x-rtriton-page": "1" };
    return {
        blind: await tried("/v1/completions", { ...post, mode: "no-cors" }),
        json: await tried("/v1/completions", { ...post, headers: { "content-type": "application/json" } }),
        marked: await tried("/v1/completions", { ...post, headers: marked }),
        marked_blind: await tried("/v1/completions", { ...post, mode: "no-cors", headers: { "x-rtriton-page": "1" } }),
        read: await tried("/v1/models", { credentials: "include" }),
        read_page: await tried("/page/info", { credentials: "include" }),
        metrics: await tried("/metrics", { credentials: "include", mode: "no-cors" }),
    };
}"""


LOAD = """async (target) => {
    const loaded = (tag, name, path) => new Promise((done) => {
        const element = document.createElement(tag);
        element.onload = () => done("loaded");
        element.onerror = () => done("failed");
        element[name] = target + path;
        document.body.append(element);
    });
    return [await loaded("script", "src", "/page/main.js"), await loaded("img", "src", "/page/icon.svg")];
}"""
FORM = """(target) => {
    const form = document.createElement("form");
    Object.assign(form, { action: target + "/v1/completions", method: "POST", enctype: "text/plain" });
    const field = document.createElement("input");
    Object.assign(field, { name: '{"model":"tiny","prompt":"evil","user":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    form.submit();
}"""
"""The body is `{"model":"tiny","prompt":"evil","user":"="}`; the browser goes where it is sent, with the password."""


@pytest.fixture(scope="module")
def evil() -> Iterator[str]:
    """A page of another site: localhost is none of 127.0.0.1's."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(EVIL)

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_another_sites_page_makes_no_use_of_a_password_that_the_browser_remembers(
    evil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, bool]] = []
    as_bearer = basic.as_bearer

    def noted(scope: Any) -> Any:
        given = dict(scope["headers"]).get(b"authorization", b"")
        seen.append((scope["method"], scope["path"], given.startswith(b"Basic ")))
        return as_bearer(scope)

    monkeypatch.setattr(basic, "as_bearer", noted)
    with served(Script(), access_for("127.0.0.1", [KEY])) as it, browser.launched() as running:
        context = running.new_context(http_credentials={"username": "me", "password": KEY, "origin": it.url})
        page = context.new_page()
        page.goto(it.url)
        page.wait_for_selector("body[data-loaded]")
        seen.clear()
        other = context.new_page()
        other.goto(evil)
        got = other.evaluate(ATTACKS, it.url)
        with other.expect_navigation():
            other.evaluate(FORM, it.url)
        answered = other.inner_text("body")
        assert not it.core.submits, "nothing was generated for it"
    assert ("POST", "/v1/completions", True) in seen, "the browser did send the password along"
    assert "invalid_api_key" in answered
    read = {name: got[name] for name in ("json", "marked", "read", "read_page")}
    assert set(read.values()) == {"TypeError"}, got
    assert all("tiny" not in each and "vllm" not in each for each in got.values()), got


def test_no_page_of_another_site_has_this_one_in_a_frame_or_its_files_in_itself(evil: str) -> None:
    from playwright.sync_api import Error

    with served(Script()) as it, browser.opened() as page:
        page.goto(evil)
        page.frames[1].goto(f"{it.url}/health")
        assert "heartbeat_ms" in page.frames[1].inner_text("body"), "a frame would show it"
        for path in ("/", "/docs"):
            with pytest.raises(Error, match="ERR_BLOCKED_BY_RESPONSE"):
                page.frames[1].goto(it.url + path)
        assert page.evaluate(LOAD, it.url) == ["failed", "failed"]
