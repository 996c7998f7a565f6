"""Types are values, their sizes and names are those that memory and Triton give them."""

import numpy as np
import pytest

from rtriton.types import (
    BY_NAME,
    BY_SHORT,
    DTYPES,
    Pointer,
    Shared,
    Tile,
    check_shape,
    dtype_of,
    element_of,
    float16,
    float32,
    int1,
    int8,
    int32,
    shape_of,
    show_type,
    uint8,
    uint64,
    with_element,
    with_shape,
)


def test_types_written_the_same_are_equal():
    assert Tile((4, 8), float32) == Tile((4, 8), float32) != Tile((8, 4), float32)
    assert Pointer(float16) == Pointer(float16) != Pointer(float16, const=True)
    assert len({Tile((4,), int32), Tile((4,), int32)}) == 1


def test_names_are_unique_and_lead_back():
    assert len(BY_SHORT) == len(BY_NAME) == len(DTYPES)
    assert all(BY_SHORT[t.short] is t and BY_NAME[t.name] is t for t in DTYPES)


@pytest.mark.parametrize("type", DTYPES, ids=str)
def test_itemsize_is_that_of_the_storage(type):
    assert np.dtype(type.storage).itemsize == type.itemsize


@pytest.mark.parametrize("type", [t for t in DTYPES if t.kind in "iu"], ids=str)
def test_integer_limits_are_numpys(type):
    info = np.iinfo(type.storage)
    assert (type.get_int_min_value(), type.get_int_max_value()) == (info.min, info.max)


def test_a_mask_counts_as_an_unsigned_integer():
    assert int1.is_int() and int1.is_int_unsigned() and int1.is_bool() and not int1.is_int_signed()


def test_types_show_as_ir_text():
    assert show_type(Tile((64, 32), float32)) == "64x32xf32"
    assert show_type(Pointer(float16, const=True)) == "*const f16"
    assert show_type(Tile((8,), Pointer(float32))) == "8x*f32"


def test_element_and_shape_of_scalars_and_tiles():
    tile = Tile((4, 8), float32)
    assert (element_of(tile), shape_of(tile), tile.numel, tile.rank) == (float32, (4, 8), 32, 2)
    assert (element_of(int32), shape_of(int32)) == (int32, ())
    assert with_element(tile, int8) == Tile((4, 8), int8) and with_element(float32, int8) == int8
    assert with_shape(tile, ()) == float32 and with_shape(float32, (2,)) == Tile((2,), float32)


def test_pointers_have_no_dtype():
    with pytest.raises(TypeError, match="wanted numbers, got pointers"):
        dtype_of(Tile((4,), Pointer(float32)))


def test_shared_buffers_count_their_stages():
    assert Shared((16, 8), float16, stages=3).nbytes == 16 * 8 * 2 * 3


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((3,), ValueError),
        ((0,), ValueError),
        ((True,), TypeError),
        ((2.0,), TypeError),
        ((1 << 11, 1 << 11), ValueError),
    ],
)
def test_shapes_are_powers_of_two_of_at_most_a_million_elements(shape, error):
    with pytest.raises(error):
        check_shape(shape)


def test_unsigned_types_reach_higher():
    assert (
        uint8.get_int_max_value() == 255 and uint64.get_int_max_value() == 2**64 - 1 and int1.get_int_max_value() == 1
    )
