"""Pictures of the page for docs/: `python -m tests.explore.screenshots` writes docs/images/explore-*.png."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rtriton.explore.app import Session
from tests.explore import browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MATMUL = ("a=*f16,b=*f16,c=*f16,M=i32:16,N=i32:16,K=i32:16,a_row=i32:16,a_column=1,b_row=i32:16,b_column=1,"
          "c_row=i32:16,c_column=1,BM=64,BN=64,BK=32,GROUP=8,ACTIVATION='',num_stages=3")  # fmt: skip
SOFTMAX = "out=*f32,source=*f32,source_step=i32,out_step=i32:16,height=i32,width=i32:16,BLOCK=1024,STAGES=2"


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    file = browser.file_of_tutorials()
    with browser.served(Session(file, "matmul_kernel", MATMUL)) as url, browser.opened("dark") as page:
        browser.loaded(page, url)
        page.locator("#stage").select_option(label=label_of(page, "pipeline"))
        page.keyboard.press("d")
        line_of(page, "acc = tl.dot(x, y, acc)").click()
        keep(page, "explore-lines")
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        page.locator("#pane-ir .layout", has_text="#l").first.click()
        page.locator("#layouts button", has_text="64×64").first.click()
        page.locator("#tile").hover(position={"x": 150, "y": 80})
        keep(page, "explore-layouts")
    with browser.served(Session(file, "softmax_kernel", SOFTMAX)) as url, browser.opened("light", 1400, 800) as page:
        browser.loaded(page, url)
        page.locator("#stage").select_option(label=label_of(page, "coalesce"))
        for key in "d34":
            page.keyboard.press(key)
        keep(page, "explore-findings")


def keep(page: Any, name: str) -> None:
    """A picture in 256 colours, which text on flat ground does not miss."""
    from PIL import Image

    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True)  # fmt: skip


def line_of(page: Any, text: str) -> Any:
    """The number of a source line."""
    return page.locator("#pane-source .line", has_text=text).locator(".number")


def label_of(page: Any, name: str) -> str:
    """What the list of passes says of one."""
    return next(label for label in page.locator("#stage option").all_inner_texts() if label.startswith(name))


if __name__ == "__main__":
    main()
