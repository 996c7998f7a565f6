"""The picture of a run: its size, and that what is drawn is what was measured."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import server.run
from server.cli import app
from server.run import Refused
from tests.server.bench.fake import serving
from tests.server.bench.test_serve import quick

pytest.importorskip("aiohttp")
from server.bench.client import Record
from server.bench.report import Samples, Slo, report

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")


def records() -> list[Record]:
    rng = np.random.default_rng(3)
    found = [
        Record(i, 2.0 + i / 100, float(rng.lognormal(-2, 1)), tuple(rng.lognormal(-4, 1, 20)), 21, True, 8)
        for i in range(60)
    ]
    return [*found, Record(70.0, 1.0, error="http_429", detail="full")]


def size_of(png: Path) -> tuple[int, int]:
    """Width and height, from the first chunk of the file."""
    head = png.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
    return struct.unpack(">II", head[16:24])


@needs_matplotlib
def test_every_sample_is_drawn_where_it_lies(tmp_path: Path) -> None:
    from server.bench.plot import DPI, INCHES, figure, write

    kept = records()
    samples, made = Samples.of(kept), report(kept, Slo(200, 30, 2500), 0.1)
    drawn = figure(made, samples, "a model $x_1 at http://127.0.0.1:1/v1")
    assert len(drawn.axes) == 4
    for axes, (name, values) in zip(drawn.axes, samples.named.items(), strict=True):
        [bars] = axes.patches
        counts, edges, _ = bars.get_data()
        assert axes.get_title() == name and sum(counts) == len(values) > 0
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            inside = sum(low <= value < high for value in values)
            # the largest belongs to the last bin; an edge at the smallest may round to its other side
            assert abs(inside - count) <= 1, (name, low, high)
        marks = [line.get_xdata()[0] for line in axes.lines]
        assert marks[:3] == pytest.approx([np.percentile(values, p) for p in (50, 90, 99)])
    assert [len(axes.lines) for axes in drawn.axes] == [4, 3, 4, 4], "the SLO is where it was asked for"
    assert "60 of 61 requests" in drawn.get_suptitle()
    write(drawn, tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == (INCHES[0] * DPI, INCHES[1] * DPI)


@needs_matplotlib
def test_what_has_no_samples_says_so() -> None:
    from server.bench.plot import figure

    failed = [Record(0.0, 1.0, error="connect", detail="gone")]
    drawn = figure(report(failed, Slo(), 0.1), Samples.of(failed), "m")
    assert [axes.texts[0].get_text() for axes in drawn.axes] == ["no samples"] * 4


@needs_matplotlib
def test_the_command_draws(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    with serving(quick) as fake:
        result = CliRunner().invoke(app, ["bench", "serve", fake.url, "--requests", "5", "--plot", str(path)])
    assert result.exit_code == 0 and "end to end" in result.output and size_of(path) == (1200, 800)
    for wrong, words in ((tmp_path / "a.pdf", "does not end in .png"), (tmp_path / "no" / "a.png", "no folder")):
        refused = CliRunner().invoke(app, ["bench", "serve", "--plot", str(wrong)])
        assert isinstance(refused.exception, Refused) and words in str(refused.exception)


def test_without_matplotlib_it_is_said_before_the_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = server.run.installed
    monkeypatch.setattr(server.run, "installed", lambda name: name != "matplotlib" and there(name))
    result = CliRunner().invoke(app, ["bench", "serve", "http://127.0.0.1:9", "--plot", str(tmp_path / "a.png")])
    assert isinstance(result.exception, Refused) and "pip install 'rtriton[bench]'" in str(result.exception)
