"""Attacks by way of the pages: what a browser may be made to load, run, frame or send with a password it remembers.

One for each guard of docs/security.md; it fails when its guard is taken away. `tests/page` has those that need a
browser.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import httpx
import pytest

from server.access import access_for
from server.basic import PAGES
from server.page import FILES
from tests.server.conftest import Running, start
from tests.server.refused import refused

KEY = "sk-right-0123456789"
BODY = {"model": "tiny", "prompt": "hi", "max_tokens": 1}
OURS = {"x-rtriton-page": "1"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    running, stop = start(access=access_for("127.0.0.1", [KEY]))
    yield running
    stop()


def test_pages_may_load_from_here_alone_and_be_shown_nowhere_else(server: Running) -> None:
    for path in ("/", "/docs", "/page/info", *(f"/page/{name}" for name in FILES)):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200, path
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy.pop("default-src") == "'self'" and policy.pop("require-trusted-types-for") == "'script'"
        assert set(policy) == {"frame-ancestors", "base-uri", "form-action", "object-src", "trusted-types"}
        assert set(policy.values()) == {"'none'"}
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        said = ("referrer-policy", "cross-origin-resource-policy", "cross-origin-opener-policy")
        assert [answer.headers[name] for name in said] == ["no-referrer", "same-origin", "same-origin"]
    for gone in ("/redoc", "/docs/oauth2-redirect"):
        assert httpx.get(server.url + gone).status_code == 404


def test_pages_ask_for_nothing_from_elsewhere_and_make_no_html_of_text() -> None:
    sources = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
    assert {"index.html", "docs.html", "main.js", "style.css"} <= sources.keys()
    made = r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|srcdoc|javascript:"
    made += r"|document\.write|\beval\(|new Function|setTimeout\([\"'`]"
    for name, text in sources.items():
        addresses = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+[^\s\"'`]*", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, name
        assert not re.search(made, text), name
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text) or name.endswith(".js"), name
        assert not re.search(r"\blocalStorage\.setItem\((?!\"rtriton-theme\")", text), name


def test_no_path_leads_out_of_the_pages_folder(server: Running) -> None:
    for path in ("..%2f__init__.py", "%2e%2e/__init__.py", "..%5c..%5capp.py", "%2fetc%2fpasswd", "main.js%00.js", ""):
        assert httpx.get(f"{server.url}/page/{path}").status_code == 404, path


def test_a_browser_is_asked_for_a_key_where_it_is_led_and_nowhere_else(keyed: Running) -> None:
    for path in (*PAGES, "/page/info", "/page/main.js", "/page/nowhere"):
        answer = httpx.get(keyed.url + path)
        assert refused(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"].startswith('Basic realm="'), path
    others = [("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/"), ("POST", "/v1/completions"), ("GET", "/pages")]
    for method, path in others:
        answer = httpx.request(method, keyed.url + path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", path


def test_a_key_as_password_opens_the_pages_and_what_is_no_key_does_not(keyed: Running) -> None:
    for path in (*PAGES, "/page/info"):
        assert httpx.get(keyed.url + path, headers=basic("anyone", KEY)).status_code == 200
    for headers in (basic(KEY, ""), basic("x", KEY[:-1]), basic(KEY, KEY + " x"), {"authorization": "Basic !"},
                    {"authorization": "Basic " + base64.b64encode(KEY.encode()).decode()},
                    {"authorization": "Basic \xff"}):  # fmt: skip
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        assert httpx.get(f"{keyed.url}/", headers=raw).status_code == 401, headers
    right, wrong = basic("x", KEY)["authorization"], basic("x", "guess")["authorization"]
    for both in ([wrong, right], [right, wrong], [right, right]):
        assert httpx.get(f"{keyed.url}/", headers=[("authorization", each) for each in both]).status_code == 401


def test_a_password_that_a_browser_remembers_is_of_no_use_to_another_sites_page(keyed: Running) -> None:
    remembered = basic("me", KEY)
    url = f"{keyed.url}/v1/completions"
    # what another origin's page can send without being asked for leave: no such header, whatever else it says
    for headers in ({}, {"content-type": "text/plain"}, {"sec-fetch-site": "cross-site"}, {"origin": keyed.url},
                    {"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}):  # fmt: skip
        assert httpx.post(url, json=BODY, headers=remembered | headers).status_code == 401, headers
        assert httpx.get(f"{keyed.url}/metrics", headers=remembered | headers).status_code == 401
    # leave is not given, and a browser that says where it comes from is believed
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = httpx.options(url, headers=asked | {"access-control-request-headers": "x-rtriton-page"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for site in ("cross-site", "same-site", "none"):
        assert httpx.post(url, json=BODY, headers=remembered | OURS | {"sec-fetch-site": site}).status_code == 401
    # and the page itself
    assert httpx.post(url, json=BODY, headers=remembered | OURS | {"sec-fetch-site": "same-origin"}).status_code == 200
    assert httpx.post(url, json=BODY, headers=remembered | OURS).status_code == 200, "there is no such word over HTTP"


def test_one_key_is_one_account_whatever_the_user_name(keyed: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts: list[str] = []
    submit = keyed.core.submit
    monkeypatch.setattr(keyed.core, "submit", lambda request: (accounts.append(request.account), submit(request))[1])
    for headers in (basic("a", KEY) | OURS, basic("b", KEY) | OURS, {"authorization": f"Bearer {KEY}"}):
        assert httpx.post(f"{keyed.url}/v1/completions", json=BODY, headers=headers).status_code == 200
    assert len(accounts) == 3 and len(set(accounts)) == 1 and accounts[0]
