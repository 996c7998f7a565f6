"""A row's result is the same to the last bit, whatever else is in the call: batched or alone, chunked or whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import ops
from ops.attention import attention_inputs
from ops.sample_reference import sample_inputs
from tests.ops.backends import EXACT

CHUNKS = ((0, 21), (40, 1), (16, 5), (7, 1))


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", ["int4", "int8", "fp8", "f32"])
def test_linear_gives_a_token_the_same_bits_alone_and_in_any_batch(
    backend: str, kind: str, use_backend: Callable[[str], None]
) -> None:
    use_backend(backend)
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((19, 96)).astype(np.float32), ops.quantize(rng.standard_normal((48, 96)), kind)
    alone = np.concatenate([ops.linear(x[t : t + 1], weight) for t in range(len(x))])
    for rows in (2, 3, 5, 8, 19):
        np.testing.assert_array_equal(ops.linear(x[:rows], weight), alone[:rows])


@pytest.mark.parametrize("backend", EXACT)
def test_attention_gives_a_token_the_same_bits_however_its_sequence_was_chunked(
    backend: str, use_backend: Callable[[str], None]
) -> None:
    use_backend(backend)
    inputs = attention_inputs(np.random.default_rng(5), CHUNKS, 4, 2, 16, np.float32)
    q, rows, positions = inputs.pop("q"), inputs.pop("token_rows"), inputs.pop("positions")

    def attend(some: slice, share: int | None) -> np.ndarray:
        return ops.paged_attention(
            q[some], token_rows=rows[some], positions=positions[some], tokens_per_program=share, **inputs
        )

    alone = np.concatenate([attend(slice(t, t + 1), None) for t in range(len(q))])
    for share in (1, 2, 4, None):
        np.testing.assert_array_equal(attend(slice(None), share), alone)
    np.testing.assert_array_equal(np.concatenate([attend(slice(0, 9), 4), attend(slice(9, None), 4)]), alone)


@pytest.mark.parametrize("backend", EXACT)
def test_sampling_draws_a_row_alone_as_in_a_batch(backend: str, use_backend: Callable[[str], None]) -> None:
    use_backend(backend)
    inputs = sample_inputs(np.random.default_rng(2), 6, 150)
    batched = ops.sample(**inputs)
    alone = [ops.sample(**{name: value[r : r + 1] for name, value in inputs.items()})[0] for r in range(6)]
    np.testing.assert_array_equal(batched, alone)


@pytest.mark.parametrize("backend", EXACT)
def test_a_segment_is_pooled_in_pieces_as_at_once_and_alone_as_beside_others(
    backend: str, use_backend: Callable[[str], None]
) -> None:
    use_backend(backend)
    x = np.random.default_rng(4).standard_normal((37, 96)).astype(np.float32)

    def pooled(start: int, end: int, count: int, carry: np.ndarray) -> np.ndarray:
        """Between two other segments."""
        starts, ends, counts = np.array([[0, start, 30], [9, end, 31], [9, count, 0]], np.int32)
        return ops.pool(x, starts, ends, counts, (counts > 0).astype(np.int32), np.stack([carry, carry, carry]))[1]

    nothing = np.zeros(96, np.float32)
    one = np.array([[3], [33], [30], [1]], np.int32)
    whole = ops.pool(x, *one, nothing[None])[0]
    np.testing.assert_array_equal(pooled(3, 33, 30, nothing), whole)
    for cuts in ([3, 4, 33], [3, 18, 19, 33], [3, *range(4, 33), 33]):
        carry = nothing
        for start, end in itertools.pairwise(cuts):
            carry = pooled(start, end, 30 if end == 33 else 0, carry)
        np.testing.assert_array_equal(carry, whole)
