"""Sampling keeps the tokens that its settings name, draws them as often as they are likely, and follows its seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ops
from ops.sample_reference import kept_tokens, philox


@pytest.fixture(autouse=True)
def _interpreted(use_backend: Callable[[str], None]) -> None:
    use_backend("cpu")


def draw(logits: np.ndarray, **settings: Any) -> Any:
    """`ops.sample` with one value of each setting for all rows, positions counting up."""
    rows = len(logits)
    full = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seeds": 0, "choices": 0} | settings
    extra = {name: full.pop(name) for name in ("logprobs", "out", "workspace") if name in full}
    dtypes = {"top_k": np.int32, "choices": np.int32, "seeds": np.uint64}
    arrays = {name: np.full(rows, value, dtypes.get(name, np.float32)) for name, value in full.items()}
    return ops.sample(logits, positions=np.arange(rows, dtype=np.int32), **arrays, **extra)


def probabilities(row: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp((row.astype(np.float64) - row.max()) / temperature)
    return powers / powers.sum()


def test_top_k_keeps_the_k_most_likely_tokens() -> None:
    row = np.random.default_rng(0).permutation(np.linspace(-5, 5, 300)).astype(np.float32)
    for k in (1, 2, 17, 299):
        assert set(np.flatnonzero(kept_tokens(row, 0.8, k, 1.0, 0.0))) == set(np.argsort(-row)[:k])
    assert kept_tokens(row, 0.8, 0, 1.0, 0.0).all() and kept_tokens(row, 0.8, 300, 1.0, 0.0).all()


def test_top_k_keeps_all_tokens_tied_at_the_last_place() -> None:
    row = np.array([3, 1, 2, 2, 2, 0], np.float32)
    assert np.flatnonzero(kept_tokens(row, 1.0, 2, 1.0, 0.0)).tolist() == [0, 2, 3, 4]


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    row = np.random.default_rng(1).standard_normal(200).astype(np.float32) * 2
    for p, temperature in ((0.1, 1.0), (0.5, 1.0), (0.9, 0.7), (0.99, 2.0)):
        chance = probabilities(row, temperature)
        order = np.argsort(-chance)
        wanted = order[: np.searchsorted(np.cumsum(chance[order]), p) + 1]
        assert set(np.flatnonzero(kept_tokens(row, temperature, 0, p, 0.0))) == set(wanted)


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    row = np.log(np.array([0.4, 0.3, 0.2, 0.1])).astype(np.float32)
    assert np.flatnonzero(kept_tokens(row, 1.0, 2, 0.6, 0.0)).tolist() == [0, 1]  # 0.4 is 57% of 0.7
    assert np.flatnonzero(kept_tokens(row, 1.0, 2, 0.5, 0.0)).tolist() == [0]


def test_min_p_keeps_tokens_within_a_factor_of_the_best() -> None:
    row = np.log(np.array([0.5, 0.24, 0.26, 0.06])).astype(np.float32)
    assert np.flatnonzero(kept_tokens(row, 1.0, 0, 1.0, 0.5)).tolist() == [0, 2]


def test_top_p_is_a_share_of_what_min_p_left() -> None:
    row = np.log(np.array([0.3, 0.25, 0.2, 0.13, 0.12])).astype(np.float32)
    assert np.flatnonzero(kept_tokens(row, 1.0, 0, 0.7, 0.6)).tolist() == [0, 1]  # 0.55 is 73% of 0.75
    assert np.flatnonzero(kept_tokens(row, 1.0, 0, 0.7, 0.0)).tolist() == [0, 1, 2]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    row = np.array([2.0, 1.0, 0.0, -1.0, -np.inf, 1.5], np.float32)
    rows = 4000
    counts = np.bincount(draw(np.tile(row, (rows, 1)), temperature=0.9, seeds=11), minlength=6)
    expected = probabilities(row, 0.9) * rows
    assert counts[4] == 0
    # chi squared with 4 degrees of freedom stays below 18.5 in 99.9 of 100 runs; the seed is fixed
    assert (((counts - expected) ** 2)[expected > 0] / expected[expected > 0]).sum() < 18.5


def test_a_token_follows_its_seed_choice_and_position_alone() -> None:
    row = np.random.default_rng(4).standard_normal((1, 500)).astype(np.float32)
    rows = np.tile(row, (40, 1))
    first = draw(rows, seeds=2**63 + 5)
    np.testing.assert_array_equal(first, draw(rows, seeds=2**63 + 5))
    assert len(set(first.tolist())) > 10  # positions differ
    assert (first != draw(rows, seeds=2**63 + 6)).any() and (first != draw(rows, seeds=2**63 + 5, choices=1)).any()
    assert (first != draw(rows, seeds=5)).any()  # the high half of a seed counts


def test_philox_gives_the_published_numbers() -> None:
    # Random123's known answers of philox4x32-10: all zero, and counter and key all ones except where a draw fixes zero
    assert philox(0, 0, 0) == (0x6627E8D5, 0xE169C58D)


def test_a_temperature_of_zero_takes_the_lowest_id_of_the_best() -> None:
    logits = np.array([[1, 5, 5, 0], [np.nan, -np.inf, -np.inf, -np.inf], [7, 7, 7, 7]], np.float32)
    assert draw(logits, temperature=0.0, top_k=1, top_p=0.1).tolist() == [1, 0, 0]


def test_a_row_without_a_finite_logit_gives_its_argmax() -> None:
    logits = np.array([[-np.inf] * 4, [0.0, np.inf, 1.0, 0.0]], np.float32)
    assert draw(logits).tolist() == [0, 1]


def test_a_single_token_that_is_not_masked_is_always_drawn() -> None:
    logits = np.full((8, 70), -np.inf, np.float32)
    logits[np.arange(8), np.arange(8) * 9] = -3.0
    assert draw(logits, temperature=3.0, top_p=0.5).tolist() == [9 * r for r in range(8)]


def test_logprobs_are_of_the_models_own_distribution() -> None:
    logits = np.random.default_rng(6).standard_normal((5, 90)).astype(np.float32) * 3
    ids, logprobs = draw(logits, temperature=0.5, top_k=3, logprobs=True)
    wanted = [np.log(probabilities(row, 1.0))[t] for row, t in zip(logits, ids, strict=True)]
    np.testing.assert_allclose(logprobs, wanted, 1e-5, 1e-5)


def test_nothing_is_allocated_where_out_and_workspace_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(8).standard_normal((2, 40)).astype(np.float32)
    out, workspace = np.empty(2, np.int64), np.empty(ops.sample_workspace(2, 40), np.int32)
    monkeypatch.setattr("ops.arrays.empty", None)
    assert draw(logits, out=out, workspace=workspace) is out
