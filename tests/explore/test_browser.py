"""The page of `rtriton explore` in headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtriton.layout import Layout
from tests.explore import browser

pytest.importorskip("fastapi")
pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
EXAMPLE = Path(__file__).parents[1] / "explain" / "kernels.py"


class Shown(browser.Watched):
    """The page of an example."""

    def __init__(self, page: Any, url: str, file: Path) -> None:
        super().__init__(page)
        self.url, self.file = url, file

    def lines(self, pane: str, text: str, state: str = "") -> Any:
        return self.page.locator(f"#pane-{pane} .line{state}", has_text=text)

    def source(self, text: str) -> Any:
        """The number before a source line."""
        return self.lines("source", text).locator(".number").first

    def lit(self, pane: str) -> list[str]:
        return self.page.locator(f"#pane-{pane} .line.lit > code").all_inner_texts()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    from rtriton.explore.app import Session

    file = tmp_path_factory.mktemp("explored") / "example.py"
    shutil.copy(EXAMPLE, file)
    with browser.served(Session(file, "rows")) as url, browser.opened() as page:
        shown = Shown(page, url, file)
        browser.loaded(page, url)
        yield shown


@pytest.fixture
def shown(opened: Shown) -> Iterator[Shown]:
    opened.page.mouse.move(0, 0)
    yield opened
    for _ in range(2):
        opened.page.keyboard.press("Escape")
    assert not opened.complaints


def test_the_four_panes_show_the_kernel(shown: Shown) -> None:
    page = shown.page
    assert shown.lines("source", "def rows(out, x, width").count() == 1
    assert shown.lines("ir", "kernel @rows").count() == 1
    assert shown.lines("ptx", ".visible .entry rows(").count() == 1
    assert page.locator("#pane-sass .line").count() > 20 or page.locator("#pane-sass .empty").inner_text()
    assert page.locator("#kernel option").all_inner_texts()[0].startswith("rows")
    assert page.locator("#sig").input_value() == "out=*fp32,x=*fp32,width=i32,BLOCK=1024"
    assert "registers" in page.locator("#summary").inner_text() or "threads" in page.locator("#summary").inner_text()


def test_findings_stand_below_their_lines_and_may_be_hidden(shown: Shown) -> None:
    load = shown.lines("source", "value = halved(tl.load")
    assert "loads 1024xf32, 4 KiB by 8 x 4 bytes a thread" in load.inner_text()
    assert "width is not known to be divisible by 16" in load.locator(".hint").first.inner_text()
    shown.page.keyboard.press("e")
    assert shown.page.locator("#pane-source .findings").count() == 0
    shown.page.keyboard.press("e")
    assert shown.page.locator("#pane-source .findings").count() > 0


def test_hovering_a_line_lights_it_in_every_pane(shown: Shown) -> None:
    shown.source("value = halved(tl.load").hover()
    assert all("ld.global" in line or "setp" in line or "add" in line or "mov" in line or "mul" in line
               for line in shown.lit("ptx"))  # fmt: skip
    assert any("ld.global.b32" in line for line in shown.lit("ptx"))
    assert any(" = load " in line for line in shown.lit("ir"))
    if shown.page.locator("#pane-sass .line").count():
        assert any("LDG" in line for line in shown.lit("sass")) and not any("STG" in line for line in shown.lit("sass"))
    shown.page.mouse.move(0, 0)
    assert shown.page.locator(".line.lit").count() == 0


def test_code_of_a_called_function_leads_to_its_line_and_to_the_call(shown: Shown) -> None:
    shown.lines("ptx", "mul.f32").first.locator(".number").hover()
    assert [line.strip() for line in shown.lit("source")] == ["return x * 0.5"]
    near = shown.page.locator("#pane-source .line.near > code").all_inner_texts()
    assert [line.strip() for line in near] == ["value = halved(tl.load(x + at, mask=columns < width, other=0.0))"]


def test_a_line_that_is_held_stays_lit_and_comes_into_view(shown: Shown) -> None:
    shown.source("tl.store(out + at, value").click()
    shown.page.mouse.move(0, 0)
    assert any("st.global" in line for line in shown.lit("ptx"))
    seen = shown.page.evaluate("""() => {
        const code = document.querySelector('#pane-ptx .code'), box = code.getBoundingClientRect();
        return [...code.querySelectorAll('.line.held')].some((line) => {
            const place = line.getBoundingClientRect();
            return place.top >= box.top && place.bottom <= box.bottom;
        });
    }""")
    assert seen
    shown.page.wait_for_selector("#pane-ptx .ticks i", state="attached")
    shown.page.keyboard.press("Escape")
    assert shown.page.locator(".line.held").count() == 0


def test_the_arrow_keys_walk_over_the_lines_that_became_something(shown: Shown) -> None:
    walked = []
    for _ in range(3):
        shown.page.keyboard.press("ArrowDown")
        walked += [line.strip() for line in shown.lit("source")]
    shown.page.keyboard.press("k")
    walked += [line.strip() for line in shown.lit("source")]
    assert walked[0] == "return x * 0.5" and walked[1].startswith("columns = tl.arange") and walked[3] == walked[1]


def test_passes_are_stepped_through_and_show_what_they_changed(shown: Shown) -> None:
    page = shown.page
    page.locator("#stage").select_option(index=0)
    assert page.locator("#reason").inner_text() == "tile IR as the front end makes it"
    page.keyboard.press("]")
    assert page.locator("#stage option:checked").inner_text().startswith("canonicalize")
    page.keyboard.press("d")
    added = page.locator("#pane-ir .line.added code").all_inner_texts()
    gone = page.locator("#pane-ir .line.gone code").all_inner_texts()
    assert added and gone and any("add %columns" in line for line in added) and set(added).isdisjoint(gone)
    page.locator("#stage").select_option(label=next(
        label for label in page.locator("#stage option").all_inner_texts() if label.startswith("coalesce")))
    parts = page.locator("#pane-ir .line.added", has_text="= load ").locator(".changed").all_inner_texts()
    assert "".join(parts).strip() == "#l0"
    page.keyboard.press("d")
    assert page.locator("#pane-ir .line.added").count() == 0
    page.locator("#strip button").nth(0).click()
    assert page.locator("#strip button").nth(0).get_attribute("aria-current") == "true"


def test_layouts_are_drawn_and_say_which_thread_holds_an_element(shown: Shown) -> None:
    page = shown.page
    page.locator("#kernel").select_option("transposed")
    shown.wait("document.title.startsWith('transposed')")
    page.keyboard.press("l")
    page.locator("#layouts button", has_text="32×32").first.click()
    layout = Layout.parse(page.locator("#bases").text_content())
    cell = page.locator("#tile").bounding_box()["width"]
    cell = (cell - 30) / 32
    page.locator("#tile").hover(position={"x": 30 + 5.5 * cell, "y": 30 + 3.5 * cell})
    said = page.locator("#place").inner_text()
    place = layout.find(3 * 32 + 5)
    assert said == "element (3, 5): warp {warp}, lane {lane}, register {register}".format(**place)
    drawn = page.evaluate("""() => {
        const tile = document.querySelector('#tile');
        const { data } = tile.getContext('2d').getImageData(0, 0, tile.width, tile.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }""")
    assert drawn > 8
    page.locator("#kernel").select_option("rows")
    shown.wait("document.title.startsWith('rows')")


def test_panes_are_resized_and_hidden(shown: Shown) -> None:
    page = shown.page
    width = page.locator("#pane-source").bounding_box()["width"]
    page.locator(".split").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#pane-source").bounding_box()["width"] > width + 10
    handle = page.locator(".split").first.bounding_box()
    page.mouse.move(handle["x"] + 3, handle["y"] + 200)
    page.mouse.down()
    page.mouse.move(handle["x"] - 97, handle["y"] + 200)
    page.mouse.up()
    assert page.locator("#pane-source").bounding_box()["width"] < width - 50
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("3")
    assert not page.locator("#pane-ptx").is_visible()
    page.keyboard.press("3")
    assert page.locator("#pane-ptx").is_visible()


def test_dark_and_light_are_remembered(shown: Shown) -> None:
    def ground() -> str:
        return shown.page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = ground()
    shown.page.keyboard.press("t")
    assert ground() != dark and shown.page.evaluate("localStorage.getItem('rtriton-explore-theme')") == "light"
    shown.page.keyboard.press("t")
    assert ground() == dark


def test_other_arguments_are_compiled(shown: Shown) -> None:
    page = shown.page
    page.locator("#sig").fill("width=i32:16,num_warps=8")
    page.keyboard.press("Enter")
    shown.wait("document.querySelector('#pane-ptx').textContent.includes('ld.global.v4.b32')")
    page.evaluate("document.activeElement.blur()")
    assert "256 threads" in page.locator("#summary").inner_text()
    assert "num_warps=8" in page.locator("#sig").input_value()
    for kernel in ("transposed", "rows"):       # a kernel that is come back to has the arguments that it had
        page.locator("#kernel").select_option(kernel)
        shown.wait(f"document.title.startsWith('{kernel}')")
    assert "256 threads" in page.locator("#summary").inner_text()
    page.reload()
    shown.wait("document.body.dataset.loaded")
    assert "256 threads" in page.locator("#summary").inner_text()


def test_a_changed_file_is_compiled_anew_and_its_errors_are_shown(shown: Shown) -> None:
    text = shown.file.read_text()
    shown.file.write_text(text.replace("x * 0.5", "x * 0.25 + nothing"))
    shown.page.wait_for_selector("#error:not([hidden])", timeout=60_000)
    assert "nothing" in shown.page.locator("#error").inner_text()
    shown.file.write_text(text.replace("x * 0.5", "x * 0.25"))
    shown.wait("document.querySelector('#error').hidden")
    shown.wait("document.querySelector('#pane-source').textContent.includes('x * 0.25')")


def test_nothing_is_asked_of_another_machine(shown: Shown) -> None:
    assert shown.asked and all(request.url.startswith(shown.url) for request in shown.asked)
