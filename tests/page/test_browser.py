"""The page at `/` and the one at `/docs` in headless Chromium, over an engine that says what it is told to."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.access import access_for
from tests.explore import browser
from tests.page.scripted import Script, Served, served

pytest.importorskip("fastapi")
pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())

ATTACK = '<img src=x onerror="document.title=1"><script>document.title=2</script>[a](javascript:document.title=3)'
MARKDOWN = f"""Some **strong** and *soft* words, `x = {ATTACK}`.

## A heading {ATTACK}

1. one
2. two
   - {ATTACK}

> quoted

```html
{ATTACK}
```
{ATTACK}"""
TABLE = f"""Sizes:
| name | size |
| --- | --: |
| {ATTACK} | 1 |
| a\\|b | 2 | more |
| short |

That is all. | no table |"""
SHALOM = "\u05e9\u05dc\u05d5\u05dd"
HEBREW = f"## {SHALOM}\n\n{SHALOM} in English\n\n1. {SHALOM}\n\n> {SHALOM}\n\n```\n{SHALOM}\n```\nand left to right"
KEY = "sk-right-0123456789"


class Shown(browser.Watched):
    """The page of a server whose answers are written."""

    def __init__(self, page: Any, it: Served) -> None:
        super().__init__(page)
        self.url, self.core = it.url, it.core

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)
        self.page.wait_for_selector("body[data-loaded]", timeout=60_000)

    def say(self, text: str) -> None:
        self.page.fill("#ask", text)
        self.page.press("#ask", "Enter")

    def answered(self) -> str:
        """The last answer, once it is whole."""
        self.page.wait_for_selector(".turn.assistant:last-child .speed", timeout=60_000)
        return self.page.locator(".turn.assistant .said").last.inner_text()

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.post_data) for request in self.asked if request.method == "POST"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.launched() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    replies = {"markdown": MARKDOWN, "long": "word " * 120, "attack": ATTACK, "table": TABLE, "right to left": HEBREW}
    with served(Script(replies, failing="failing")) as it:
        yield it


@pytest.fixture
def shown(chromium: Any, server: Served) -> Iterator[Shown]:
    """A page of a browser that has nothing stored. It loads from its server alone and complains of nothing."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    it = Shown(context.new_page(), server)
    it.open()
    yield it
    context.close()
    assert it.asked and all(request.url.startswith(it.url) for request in it.asked)
    assert not it.complaints


def test_an_answer_is_streamed_and_its_speed_is_told(shown: Shown) -> None:
    assert "tiny on cpu" in shown.page.locator("#state").inner_text()
    assert "4,096 tokens" in shown.page.locator("#card").inner_text()
    with shown.core.script.paced(0.05):
        shown.say("long, please")
        shown.wait("(document.querySelector('.turn.assistant .said')?.textContent.length ?? 0) > 20")
        assert shown.page.locator("#stop").is_visible(), "it is shown before it is whole"
    text = shown.answered()
    assert text.split() == ["word"] * 120
    speed = shown.page.locator(".speed").inner_text()
    assert "601 tokens" in speed and "first after" in speed and "tokens/s" in speed, "with the token that ended it"
    shown.say("And?")
    assert shown.answered() == "A short answer."
    roles = [message["role"] for message in shown.bodies()[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_an_answer_can_be_stopped_and_its_place_is_free_at_once(shown: Shown) -> None:
    with shown.core.script.paced(0.05):
        shown.say("long, please")
        shown.wait("(document.querySelector('.turn.assistant .said')?.textContent.length ?? 0) > 20")
        shown.page.keyboard.press("Escape")
        assert len(shown.answered()) < 600
    assert "stopped" in shown.page.locator(".speed").inner_text()
    end = time.monotonic() + 30
    while shown.core.running:
        assert time.monotonic() < end, "the engine goes on for nobody"
        time.sleep(0.01)
    shown.say("And?")
    assert shown.answered() == "A short answer."


def test_only_what_is_set_is_sent(shown: Shown) -> None:
    page = shown.page
    shown.say("hi")
    shown.answered()
    always = {"model", "messages", "stream", "stream_options"}
    assert shown.bodies()[-1].keys() == always
    assert page.locator("#field-temperature").get_attribute("placeholder") == "1", "the server's own"
    asked = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "presence_penalty": -1, "seed": 7,
             "frequency_penalty": 0.25, "repetition_penalty": 1.1, "max_tokens": 5}  # fmt: skip
    for name, value in asked.items():
        page.fill(f"#field-{name}", str(value))
    page.fill("#field-stop", "END\n\\n\\n")
    page.fill("#system", "Be brief.")
    page.click("#new")
    shown.say("hi")
    assert shown.answered() == "A sho" and "cut at max_tokens" in page.locator(".speed").inner_text()
    body = shown.bodies()[-1]
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert {name: body[name] for name in body.keys() - always} == asked | {"stop": ["END", "\n\n"]}
    params = shown.core.submits[-1].params
    assert (params.seed, params.top_k, params.temperature) == (7, 40, 0.5)
    page.click("#reset")
    shown.say("hi")
    shown.answered()
    assert shown.bodies()[-1].keys() == always


def test_errors_are_shown_with_the_field_at_fault_and_can_be_tried_again(shown: Shown) -> None:
    page = shown.page
    page.fill("#field-temperature", "3")
    shown.say("hi")
    alert = page.locator(".turn [role=alert]")
    alert.wait_for()
    assert "temperature" in alert.inner_text() and "2" in alert.inner_text()
    assert page.locator("#field-temperature").get_attribute("aria-invalid") == "true"
    assert shown.complaints and all("400" in each for each in shown.complaints), "Chromium says each refusal"
    shown.complaints.clear()
    page.fill("#field-temperature", "1.5")
    alert.get_by_role("button", name="Try again").click()
    assert shown.answered() == "A short answer."
    page.fill("#field-top_k", "1.5")
    sent = len(shown.bodies())
    shown.say("hi")
    page.locator(".turn [role=alert]", has_text="whole number").wait_for()
    assert len(shown.bodies()) == sent
    page.click("#reset")
    shown.say("failing")
    page.locator(".turn [role=alert]", has_text="the scripted failure").wait_for()
    assert page.locator(".turn.assistant .said").last.inner_text() == "A", "what came before it stays"


def test_a_message_can_be_edited_and_an_answer_asked_for_again(shown: Shown) -> None:
    page = shown.page
    for text in ("first", "second"):
        shown.say(text)
        shown.answered()
    page.get_by_role("article", name="You").first.get_by_role("button", name="Edit").click()
    page.get_by_label("The message in other words").fill("other")
    page.keyboard.press("Enter")
    shown.answered()
    assert page.locator(".turn").count() == 2
    assert shown.bodies()[-1]["messages"] == [{"role": "user", "content": "other"}]
    page.get_by_role("button", name="Again").press("Enter")
    assert page.evaluate("document.activeElement.id") in ("stop", "ask"), "the keyboard is not lost with the button"
    shown.wait("document.querySelectorAll('.turn').length === 2")
    shown.answered()
    assert [body["messages"] for body in shown.bodies()[-2:]] == [[{"role": "user", "content": "other"}]] * 2
    page.click("#new")
    assert page.locator(".turn").count() == 0 and page.locator("#empty").is_visible()


def test_text_of_models_and_people_makes_no_elements(shown: Shown) -> None:
    page = shown.page
    title = page.title()
    before = page.locator("img, script, iframe, a").count()
    shown.say(f"markdown {ATTACK}")
    text = shown.answered()
    assert text.count("<img src=x") == 5 and ATTACK in page.locator(".turn.user .said").inner_text()
    said = page.locator(".turn.assistant .said")
    made = said.locator("*").evaluate_all("all => all.map((each) => each.tagName.toLowerCase())")
    assert set(made) == {
        "p",
        "strong",
        "em",
        "code",
        "h4",
        "ol",
        "ul",
        "li",
        "blockquote",
        "div",
        "span",
        "button",
        "pre",
    }
    assert said.locator("pre code").inner_text() == ATTACK
    assert said.locator("ol > li").all_inner_texts()[0] == "one" and said.locator("li li").count() == 1
    page.fill("#system", ATTACK)
    shown.say(f"attack {ATTACK}")
    assert shown.answered() == ATTACK
    assert page.locator("img, script, iframe, a").count() == before and page.title() == title
    # and where a script tried to, the browser would not let it
    thrown = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return ''; } catch (e) { return e.name; } }"
    )
    assert thrown == "TypeError"
    shown.complaints[:] = [each for each in shown.complaints if "TrustedHTML" not in each]


PIECES = [
    "word",
    " ",
    "\n",
    "\n\n",
    "**",
    "*",
    "`",
    "```",
    "```\n",
    "- ",
    "  - ",
    "1. ",
    "# ",
    "> ",
    "---\n",
    "a*b",
    "<b>",
    "\\",
    "| a | word |\n",
    "|---|:-:|\n",
    "\\|",
]


def test_a_stream_of_markdown_ends_as_the_whole_of_it_and_nothing_of_it_is_lost(shown: Shown) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices(PIECES, k=rng.randint(1, 40))) for _ in range(400)]
    program = """async (texts) => {
        const { show } = await import("/page/markdown.js");
        const place = () => document.createElement("div");
        return texts.map((text) => {
            const streamed = place(), whole = place();
            for (let end = 0; end <= text.length; end += 3) show(streamed, text.slice(0, end));
            show(streamed, text);
            show(whole, text);
            return [streamed.innerHTML === whole.innerHTML, whole.textContent];
        });
    }"""
    for text, (same, seen) in zip(texts, shown.page.evaluate(program, texts), strict=True):
        assert same, text
        assert [seen.count(each) for each in ("word", "<b>")] == [text.count(each) for each in ("word", "<b>")], text


def test_a_table_is_one_and_its_cells_are_text(shown: Shown) -> None:
    shown.say("table")
    shown.answered()
    table = shown.page.locator(".turn.assistant .said table")
    rows = table.locator("tr").evaluate_all("all => all.map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert rows == [["name", "size"], [ATTACK, "1"], ["a|b", "2", "more"], ["short", ""]]
    sides = table.locator("tr:nth-child(2) td").evaluate_all(
        "all => all.map((cell) => getComputedStyle(cell).textAlign)"
    )
    assert sides == ["start", "end"] and table.locator("th").count() == 2 and table.locator("code").count() == 0
    assert shown.page.locator(".said p").all_inner_texts() == ["Sizes:", "That is all. | no table |"]


def test_each_block_is_written_in_the_direction_of_its_letters(shown: Shown) -> None:
    page = shown.page
    shown.say("\u05e9\u05dc\u05d5\u05dd, right to left?")
    shown.answered()
    direction = "each => getComputedStyle(each).direction"
    assert page.locator(".turn.user .said").evaluate(direction) == "rtl"
    said = page.locator(".turn.assistant .said")
    found = {tag: said.locator(tag).first.evaluate(direction) for tag in ("h4", "p", "ol", "blockquote", "pre")}
    assert found == {"h4": "rtl", "p": "rtl", "ol": "rtl", "blockquote": "rtl", "pre": "ltr"}
    assert said.locator("p").last.evaluate(direction) == "ltr"
    page.fill("#ask", "\u05e9\u05dc\u05d5\u05dd")
    assert page.locator("#ask").evaluate(direction) == "rtl"


def test_a_button_that_copies_says_so_for_a_moment_however_often_it_is_pressed(shown: Shown) -> None:
    shown.say("hello")
    shown.answered()
    button = shown.page.locator(".turn.assistant .foot button").first
    for _ in range(3):
        button.click()
    shown.wait("['Copied', 'Not allowed'].includes(document.querySelector('.turn.assistant .foot button').textContent)")
    shown.wait("document.querySelector('.turn.assistant .foot button').textContent === 'Copy'")


def test_a_text_made_to_be_slow_or_deep_is_neither(shown: Shown) -> None:
    texts = [
        "**a " * 20_000,
        "`a" * 20_000,
        "\n".join(" " * i + "- x" for i in range(2000)),
        "*" * 9999 + "a" + "*" * 9999,
    ]
    program = """async (text) => {
        const { show } = await import("/page/markdown.js");
        const place = document.createElement("div"), began = performance.now();
        show(place, text);
        let deepest = 0;
        for (let at = place; at; at = at.lastElementChild) deepest += 1;
        return [performance.now() - began, deepest];
    }"""
    for text in texts:
        milliseconds, deepest = shown.page.evaluate(program, text)
        print('MS', milliseconds)
        assert milliseconds < 5000 and deepest < 30, text[:20]


def test_metrics_are_drawn_over_time_and_requests_as_bars(shown: Shown) -> None:
    page = shown.page
    shown.say("long, please")
    page.click("#to-metrics")
    assert page.locator("#chat").is_hidden()
    shown.wait("document.querySelectorAll('#plots .curve').length >= 5")
    points = "[...document.querySelectorAll('#plots .curve')].map((each) => each.getAttribute('d').split('L').length)"
    shown.wait(f"Math.min(...{points}) >= 2")
    labels = page.locator("#plots svg").evaluate_all("all => all.map((each) => each.getAttribute('aria-label'))")
    assert [label.split(",")[0] for label in labels] == ["Tokens", "Batch", "Queue", "KV cache"]
    shown.wait("document.querySelectorAll('#timeline .bar-decode').length > 0")
    row = page.locator("#timeline tbody tr").first
    assert row.locator(".bar-prefill").count() == 1 and "chat/completions" in row.inner_text()
    assert "decode" in row.locator("svg").get_attribute("aria-label")
    assert "since start" in page.locator("#figures").inner_text()
    box = page.locator("#plots svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 60)
    shown.wait("document.querySelectorAll('#plots .mark').length > 0")
    page.go_back()
    assert shown.answered().split() == ["word"] * 120, "it went on"


def test_an_engine_that_is_gone_is_told_at_the_top_until_it_is_back(shown: Shown) -> None:
    state = "document.querySelector('#state')"
    script = shown.core.script
    shown.wait(f"{state}.dataset.state === 'ready'")
    try:
        script.down = "out of memory"
        shown.wait(f"{state}.dataset.state === 'lost' && {state}.textContent === 'not ready: out of memory'")
        shown.say("anyone there?")
        shown.page.wait_for_selector(".turn.assistant:last-child .alert")
        assert "out of memory" in shown.page.locator(".turn.assistant .alert").inner_text()
    finally:
        script.down = ""
    shown.wait(f"{state}.dataset.state === 'ready'")
    shown.complaints[:] = [each for each in shown.complaints if "503" not in each]


def test_the_docs_show_what_the_openapi_page_says(shown: Shown) -> None:
    page = shown.page
    shown.open("/docs")
    spec = httpx.get(f"{shown.url}/openapi.json").json()
    routes = [f"{method.upper()}{path}" for path, methods in spec["paths"].items() for method in methods]
    assert page.locator(".route h2").all_inner_texts() == [route.replace("/", "\n/", 1) for route in routes]
    assert page.locator(".type h2").all_inner_texts() == list(spec["components"]["schemas"])
    row = page.locator("#post--v1-chat-completions tr", has=page.get_by_text("temperature", exact=True))
    assert "0 to 2" in row.inner_text()
    page.locator("#post--v1-chat-completions").get_by_role("link", name="UserMessage").first.click()
    assert page.url.endswith("#type-UserMessage") and page.locator("#type-UserMessage").count() == 1


def test_the_page_works_on_a_phone_and_by_keyboard(chromium: Any, server: Served) -> None:
    context = chromium.new_context(viewport={"width": 380, "height": 700}, color_scheme="dark")
    shown = Shown(context.new_page(), server)
    shown.open()
    page = shown.page
    for view in ("/#metrics", "/docs", "/"):
        shown.open(view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, view
    assert page.locator("#settings").is_hidden()
    page.get_by_role("button", name="Settings").press("Enter")
    page.get_by_label("max_tokens").fill("1")
    page.keyboard.press("Escape")
    assert page.locator("#settings").is_hidden()
    page.get_by_label("Your message").press("h")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert shown.answered() == "A"
    controls = page.locator("button, input, textarea, select")
    named = "all => all.map((each) => Boolean(each.labels?.length || each.textContent.trim() || each.ariaLabel))"
    assert all(controls.evaluate_all(named)) and controls.count() > 15
    context.close()
    assert not shown.complaints


def test_with_keys_the_page_opens_by_a_password_and_works_by_it_or_by_the_key_field(chromium: Any) -> None:
    with served(Script(), access_for("127.0.0.1", [KEY])) as it:
        context = chromium.new_context(http_credentials={"username": "me", "password": KEY})
        shown = Shown(context.new_page(), it)
        shown.open()
        shown.say("hi")
        assert shown.answered() == "A short answer."
        page = shown.page
        page.fill("#key", "sk-wrong")
        page.press("#key", "Tab")
        shown.wait("document.querySelector('#state').textContent === 'needs an API key'")
        page.fill("#key", KEY)
        page.press("#key", "Tab")
        shown.wait("document.querySelector('#state').textContent === 'tiny on cpu'")
        page.click("#new")
        shown.say("hi")
        assert shown.answered() == "A short answer."
        last = [request for request in shown.asked if request.method == "POST"][-1]
        assert last.headers["authorization"] == f"Bearer {KEY}"
        assert not [request.url for request in shown.asked if KEY in request.url]
        assert page.evaluate("JSON.stringify(localStorage) + document.cookie").count(KEY) == 0
        context.close()


def test_where_metrics_have_their_own_port_the_page_says_so(chromium: Any) -> None:
    from dataclasses import replace

    with served(Script(), replace(access_for("127.0.0.1"), metrics_port=1)) as it:
        context = chromium.new_context()
        shown = Shown(context.new_page(), it)
        shown.open("/#metrics")
        assert "--metrics-port" in shown.page.locator("#elsewhere").inner_text()
        assert shown.page.locator("#plots").is_hidden() and shown.page.locator("#timeline").is_visible()
        context.close()
        assert not shown.complaints and not [each.url for each in shown.asked if each.url.endswith("/metrics")]
