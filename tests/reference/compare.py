"""Logits of the demo model as transformers computes them in float32, recorded for a few thousand positions, and how to
compare others with them. Needs NumPy only.

    reference = Reference.load()
    report = Report()
    for section in reference.sections:
        report.add(section, my_logits(section.tokens))      # (len(tokens), vocabulary), teacher-forced
    assert report.largest_difference <= 0.02 and not report.wrong and report.share_checked >= 0.8

Stored per position: the eight largest logits with their ids, the logits of 16 fixed probe ids (the same everywhere,
spread over the vocabulary) and the logsumexp of all. A logit outside those entries is seen through the logsumexp
alone; `make_reference.py --live` compares every one. `make_reference.py` writes the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("smollm2_135m_q4_1.npz")
TOP = 8
PROBES = 16
SURE = 0.04  # a margin that a difference of at most 0.02 in each logit cannot turn over


@dataclass(frozen=True, eq=False)
class Section:
    """One text: `tokens` (T,), and for position i the logits of what follows token i."""

    name: str
    tokens: np.ndarray
    top_ids: np.ndarray  # (T, 8), largest first
    top_logits: np.ndarray
    probe_ids: np.ndarray  # (16,)
    probe_logits: np.ndarray  # (T, 16)
    logsumexp: np.ndarray  # (T,)

    @property
    def argmax(self) -> np.ndarray:
        return self.top_ids[:, 0]

    @property
    def margin(self) -> np.ndarray:
        """How far the largest logit lies above the next."""
        return self.top_logits[:, 0] - self.top_logits[:, 1]


@dataclass(frozen=True, eq=False)
class Reference:
    """All sections, and what made them."""

    about: dict[str, str]
    sections: tuple[Section, ...]

    @staticmethod
    def load(path: Path = FILE) -> Reference:
        with np.load(path) as data:
            stored = {name: data[name] for name in data.files}
        about = json.loads(bytes(stored["about"]))
        ends = np.cumsum(stored["lengths"])
        sections = []
        for name, start, end in zip(about.pop("sections"), [0, *ends[:-1]], ends, strict=True):
            sections.append(
                Section(
                    name,
                    tokens=stored["tokens"][start:end].astype(np.int32),
                    top_ids=stored["top_ids"][start:end].astype(np.int32),
                    top_logits=stored["top_logits"][start:end],
                    probe_ids=stored["probe_ids"].astype(np.int32),
                    probe_logits=stored["probe_logits"][start:end],
                    logsumexp=stored["logsumexp"][start:end],
                )
            )
        return Reference(about, tuple(sections))

    def save(self, path: Path = FILE) -> None:
        about = {**self.about, "sections": [section.name for section in self.sections]}
        joined = {
            name: np.concatenate([getattr(section, name) for section in self.sections]).astype(dtype)
            for name, dtype in {
                "tokens": np.uint16,
                "top_ids": np.uint16,
                "top_logits": np.float32,
                "probe_logits": np.float32,
                "logsumexp": np.float32,
            }.items()
        }
        np.savez_compressed(
            path,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            lengths=np.array([len(section.tokens) for section in self.sections]),
            probe_ids=self.sections[0].probe_ids.astype(np.uint16),
            **joined,
        )


@dataclass
class Report:
    """What comparing has found so far."""

    positions: int = 0
    checked: int = 0  # positions whose margin is large enough for their argmax to count
    largest_difference: float = 0.0
    wrong: list[str] = field(default_factory=list)  # positions with another argmax although the margin is large

    @property
    def share_checked(self) -> float:
        return self.checked / self.positions

    def add(self, section: Section, logits: np.ndarray) -> None:
        """Compare (T, vocabulary) with the stored entries of `section`."""
        rows = np.arange(len(section.tokens))[:, None]
        differences = (
            np.abs(logits[rows, section.top_ids] - section.top_logits),
            np.abs(logits[:, section.probe_ids] - section.probe_logits),
            np.abs(logsumexp(logits) - section.logsumexp),
        )
        # a NaN must not get lost in a maximum
        worst = max(float(np.nan_to_num(d, nan=np.inf).max()) for d in differences)
        self.largest_difference = max(self.largest_difference, worst)
        sure = section.margin > SURE
        found = logits.argmax(axis=1)
        for at in np.flatnonzero(sure & (found != section.argmax)):
            self.wrong.append(f"{section.name}[{at}]: {found[at]} instead of {section.argmax[at]}")
        self.positions += len(section.tokens)
        self.checked += int(sure.sum())

    def __str__(self) -> str:
        return (
            f"{self.positions} positions, largest difference {self.largest_difference:.6f}, argmax compared on "
            f"{self.checked} ({self.share_checked:.1%}), wrong {len(self.wrong)}"
        )


def summarise(name: str, tokens: list[int], logits: np.ndarray) -> Section:
    """What is kept of (T, vocabulary) logits."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    probes = np.linspace(0, logits.shape[1] - 1, PROBES).astype(np.int32)
    return Section(
        name,
        tokens=np.asarray(tokens),
        top_ids=order,
        top_logits=np.take_along_axis(logits, order, axis=1),
        probe_ids=probes,
        probe_logits=logits[:, probes],
        logsumexp=logsumexp(logits),
    )


def logsumexp(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    top = wide.max(axis=1, keepdims=True)
    return (top[:, 0] + np.log(np.exp(wide - top).sum(axis=1))).astype(np.float32)
