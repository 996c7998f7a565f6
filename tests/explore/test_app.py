"""`rtriton explore` without a browser: what it answers, to whom, and how it begins."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from rtriton.explore import local, worker  # noqa: E402
from rtriton.explore.app import STATIC, Session, create_app  # noqa: E402
from rtriton.explore.page import differences  # noqa: E402
from rtriton.explain.build import Stage  # noqa: E402

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "explain" / "kernels.py"


def asked(**request: object) -> dict:
    return worker.answer({"file": str(EXAMPLE), "kernel": "", "sig": "", "target": "sm_90a", "run": None, **request})


@pytest.fixture(scope="module")
def answer() -> dict:
    return asked(kernel="rows")


def get(path: str, host: str = "127.0.0.1:8017", session: Session | None = None, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        app = create_app(session or Session(EXAMPLE))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8017") as client:
            return await client.get(path, headers={"host": host, **headers})

    return asyncio.run(ask())


# -- the data --------------------------------------------------------------------------------------------------------


def test_kernels_are_listed_with_what_their_arguments_are_taken_to_be(answer: dict) -> None:
    listed = {kernel["name"]: kernel for kernel in answer["kernels"]}
    assert list(listed) == ["halved", "rows", "transposed", "strided", "products"] and answer["chosen"] == "rows"
    assert listed["rows"]["signature"] == "out=*fp32,x=*fp32,width=i32,BLOCK=1024" and not listed["rows"]["called"]
    assert listed["halved"]["called"] and "say what x is" in listed["halved"]["problem"]


def test_every_line_leads_to_lines_of_the_source(answer: dict) -> None:
    page = answer["page"]
    (file,) = page["files"]
    assert file["path"] == str(EXAMPLE) and file["lines"] == EXAMPLE.read_text().splitlines()
    inner, call = (next(i for i, line in enumerate(file["lines"], 1) if text in line)
                   for text in ("return x * 0.5", "value = halved("))  # fmt: skip
    for stage in page["stages"]:
        products = [keys for text, keys in stage["lines"] if re.search(r" = mul %\S+, %\S+$|mul\.f32|FMUL R", text)]
        assert [f"0:{inner}", f"0:{call}"] in products, stage["name"]
    last = [stage["name"] for stage in page["stages"]][-3:]
    assert last in (["barriers", "ptx", "sass"], ["allocate", "barriers", "ptx"])       # without ptxas no machine code


def test_the_diff_of_a_stage_rebuilds_both_texts(answer: dict) -> None:
    stages = [stage for stage in answer["page"]["stages"] if stage["language"] == "tir"]
    for before, after in pairwise(stages):
        old = [before["lines"][n] if mark == "-" else after["lines"][n] for mark, n, *_ in after["diff"] if mark != "+"]
        new = [after["lines"][n] for mark, n, *_ in after["diff"] if mark != "-"]
        assert [text for text, _ in old] == [text for text, _ in before["lines"]] and new == after["lines"]
        assert after["same"] == all(mark == " " for mark, *_ in after["diff"])


def test_lines_that_are_gone_stand_before_those_that_came() -> None:
    texts = (["x", "%a: i32 = b", "y"], ["x", "%a: i32 #l = b", "new", "y"])
    before, after = (Stage("a pass", "", tuple((line, ()) for line in lines)) for lines in texts)
    assert differences(before, after) == [(" ", 0), ("-", 1, 8, 8), ("+", 1, 8, 11), ("+", 2), (" ", 3)]


def test_layouts_come_as_bases_under_the_names_that_the_ir_has(answer: dict) -> None:
    layout = answer["page"]["layouts"]["l0"]
    assert layout["shape"] == (1024,) and set(layout["bases"]) == {"register", "lane", "warp"}
    assert sorted(b for columns in layout["bases"].values() for b in columns) == [1 << n for n in range(10)]
    assert any("#l0" in text for stage in answer["page"]["stages"] for text, _ in stage["lines"])


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x = 1\nx.y\n", "AttributeError: 'int' object has no attribute 'y'", 2),
        ("def f(:\n", "invalid syntax", 1),
        ("x = 1\n", "defines no kernel: no function with @jit", None),
        ("import rtriton\nimport rtriton.language as tl\n@rtriton.jit\ndef f(x):\n    tl.store(x, y)\n"
         "SIGNATURES = {'f': 'x=*f32'}\n", "y", 5),
    ],
    ids=["raises", "syntax", "nothing", "kernel"],
)  # fmt: skip
def test_errors_of_the_file_are_part_of_the_answer(tmp_path: Path, text: str, message: str, line: int | None) -> None:
    file = tmp_path / "faulty_example.py"
    file.write_text(text)
    error = asked(file=str(file))["error"]
    assert message in error["message"] and error["line"] == line


def test_the_worker_answers_with_json_alone_whatever_the_file_prints(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text("print('hello')\nraise SystemExit(3)\n")
    request = {"file": str(tmp_path / "chatty.py"), "kernel": "", "sig": "", "target": "sm_90a", "run": None}
    done = subprocess.run([sys.executable, "-m", "rtriton.explore.worker", json.dumps(request)], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert "SystemExit: 3" in json.loads(done.stdout)["error"]["message"], done.stderr


# -- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:8017", "localhost:8017", "[::1]:8017", "LOCALHOST"])
def test_requests_that_name_this_machine_are_answered(host: str) -> None:
    answered = get("/", host)
    assert answered.status_code == 200 and "rtriton" in answered.text


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "localhost.example.com:1", "0.0.0.0:80", ""])
def test_requests_that_name_another_host_are_refused(host: str) -> None:
    for path in ("/", "/static/main.js", "/api/page"):
        refused = get(path, host)
        assert refused.status_code == 421 and "answers only to 127.0.0.1" in refused.text
        assert refused.headers["content-security-policy"].startswith("default-src 'self'")


def test_pages_of_other_sites_get_nothing_but_may_link_here() -> None:
    other = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert get("/api/page", **other).status_code == 403
    assert get("/", **{**other, "sec-fetch-mode": "navigate"}).status_code == 200
    assert get("/", **{**other, "sec-fetch-site": "same-origin"}).status_code == 200


def test_every_answer_forbids_what_comes_from_elsewhere() -> None:
    for path in ("/", "/static/style.css", "/none"):
        headers = get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; frame-ancestors 'none'")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


def test_files_of_the_page_name_no_other_place_and_make_no_html() -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=", text), file.name
    assert get("/static/../app.py").status_code == 404


def test_a_page_is_made_in_a_process_of_its_own_and_its_files_are_watched() -> None:
    session = Session(EXAMPLE, "transposed")
    made = get("/api/page", session=session).json()
    assert made["chosen"] == "transposed" and made["page"]["report"]["kernel"] == "transposed"
    assert set(session.watched) == {EXAMPLE} and not session.changed()
    session.watched[EXAMPLE] -= 1
    assert session.changed()


def test_host_names_are_read_without_their_port() -> None:
    assert [local.host_of(h) for h in ("localhost:1", "LocalHost", "[::1]:80", "127.0.0.1")] == [
        "localhost", "localhost", "[::1]", "127.0.0.1"]  # fmt: skip


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["none.py"], "there is no file none.py"), ([str(EXAMPLE), "--target", "sm_70"], "there is no target 'sm_70'")],
)
def test_what_cannot_be_explored_is_an_error(arguments: list[str], message: str) -> None:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from server.cli import app

    said = CliRunner().invoke(app, ["explore", *arguments])
    assert said.exit_code == 1 and message in said.output


def test_a_port_that_is_taken_is_an_error_and_the_address_is_loopback() -> None:
    from typer.testing import CliRunner

    from rtriton.explore.serve import bind, url_of
    from server.cli import app

    listener = bind(0)
    listener.listen()
    assert listener.getsockname()[0] == "127.0.0.1" and url_of(listener).startswith("http://127.0.0.1:")
    said = CliRunner().invoke(app, ["explore", str(EXAMPLE), "--port", str(listener.getsockname()[1])])
    listener.close()
    assert said.exit_code == 1 and "--port 0 takes a free one" in said.output
