"""The names of types in signatures, against the canonical names that Triton documents."""

import pytest

from rtriton import signature, types


@pytest.mark.parametrize("spelling, canonical", [
    ("bool", "u1"), ("int1", "u1"), ("int", "i32"), ("uint8", "u8"), ("half", "fp16"), ("float", "fp32"),
    ("double", "fp64"), ("bfloat16", "bf16"), ("float8_e4m3fn", "fp8e4nv"), ("float8e5", "fp8e5"), ("i64", "i64"),
])  # fmt: skip
def test_every_spelling_has_one_canonical_name(spelling: str, canonical: str) -> None:
    assert signature.type_canonicalisation_dict[spelling] == canonical
    assert signature.canonicalize_dtype("torch." + spelling) == canonical


@pytest.mark.parametrize("dtype", types.DTYPES, ids=str)
def test_a_canonical_name_is_read_back_as_its_type(dtype: types.DType) -> None:
    assert signature.str_to_ty(signature.canonical(dtype)) == dtype
    assert signature.str_to_ty("*k" + signature.canonical(dtype)) == types.Pointer(dtype, const=True)


@pytest.mark.parametrize("wrong", ["i7", "**fp32", ""])
def test_a_name_of_no_type_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        signature.str_to_ty(wrong)
