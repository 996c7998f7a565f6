"""The kernels of `ops.linear`; ops/linear.py says what they compute and in which order."""

from __future__ import annotations

import rtriton
import rtriton.language as tl


@rtriton.jit
def packed_linear_kernel(
    x, data, scale, minimum, out, tokens, rows, groups, x_stride, out_stride,
    KIND: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """ROWS is a multiple of 16 that divides the padded rows; EVEN says that no row is padding."""
    # tokens are the fast axis of the grid: programs that run close in time share their weights
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    tile = row // 16
    lane = row % 16
    k = tl.arange(0, 16)
    present = tl.minimum(token, tokens - 1)  # rows past the last token repeat it and are not stored
    xs = x + present.to(tl.int64)[:, None] * x_stride + k[None, :]
    if KIND == "int4":
        codes = data + (tile.to(tl.int64) * (groups * 256) + lane)[None, :] + k[:, None] * 16
    else:
        codes = data + (tile.to(tl.int64) * (groups * 512) + lane)[None, :] + k[:, None] * 16
    scales = tile * (groups * 16) + lane
    acc = tl.zeros([TOKENS, ROWS], tl.float32)
    for group in range(groups):
        # places are computed from the group, not carried: a carried tile of pointers would fill registers
        low = tl.load(xs + group * 32).to(tl.float32)
        high = tl.load(xs + group * 32 + 16).to(tl.float32)
        if KIND == "int4":
            packed = tl.load(codes + group * 256).to(tl.int32)
            first = (packed & 15).to(tl.float32)
            second = (packed & 240).to(tl.float32)  # 16 times the code: the product is scaled, exactly
        elif KIND == "fp8":
            first = fp8_over_256(tl.load(codes + group * 512))
            second = fp8_over_256(tl.load(codes + group * 512 + 256))
        else:
            first = tl.load(codes + group * 512).to(tl.float32)
            second = tl.load(codes + group * 512 + 256).to(tl.float32)
        # two short chains of additions, not one long one: neither waits for the other
        product = tl.dot(low, first, input_precision=PRECISION)
        if KIND == "int4":
            product += tl.dot(high, second, input_precision=PRECISION) * 0.0625
        else:
            product += tl.dot(high, second, input_precision=PRECISION)
        if KIND == "fp8":
            acc += product
        else:
            acc += product * tl.load(scale + scales + group * 16).to(tl.float32)[None, :]
        if KIND == "int4":
            total = tl.sum(low + high, 1)
            acc += total[:, None] * tl.load(minimum + scales + group * 16).to(tl.float32)[None, :]
    if KIND == "fp8":
        acc *= tl.load(scale + row)[None, :] * 256.0
    stored = token[:, None] < tokens
    if not EVEN:
        stored = stored & (row[None, :] < rows)
    outs = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    tl.store(outs, acc.to(out.dtype.element_ty), mask=stored)


@rtriton.jit
def fp8_over_256(code):
    """An e4m3 number, given as a byte, divided by 256: its bits, moved, are that fp16, subnormal ones too."""
    bits = code.to(tl.uint16)
    half = ((bits & 127) << 7) | ((bits & 128) << 8)
    return half.to(tl.float16, bitcast=True).to(tl.float32)


@rtriton.jit
def packed_tile_kernel(
    x, data, scale, minimum, out, tokens, rows, groups, x_stride, out_stride,
    KIND: tl.constexpr, TOKENS: tl.constexpr, GROUPS: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """TOKENS tokens and 16 rows on tensor cores: weights are made real, GROUPS groups of k at a time."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    tile = tl.program_id(1)
    lane = tl.arange(0, 16)
    present = tl.minimum(token, tokens - 1).to(tl.int64)
    acc = tl.zeros([TOKENS, 16], tl.float32)
    for start in range(0, groups, GROUPS):
        # the first halves of GROUPS groups are one operand, the second halves the other
        group = start + tl.arange(0, GROUPS * 16) // 16
        k = tl.arange(0, GROUPS * 16) % 16
        inside = group < groups
        if not EVEN:
            group = tl.minimum(group, groups - 1)
        xs = x + present[:, None] * x_stride + (group * 32 + k)[None, :]
        low = tl.load(xs).to(tl.float32)
        high = tl.load(xs + 16).to(tl.float32)
        if not EVEN:
            low = tl.where(inside[None, :], low, 0.0)
            high = tl.where(inside[None, :], high, 0.0)
        cell = tile.to(tl.int64) * groups + group
        if KIND == "int4":
            packed = tl.load(data + (cell * 256 + k * 16)[:, None] + lane[None, :]).to(tl.int32)
            first = (packed & 15).to(tl.float32)
            second = (packed >> 4).to(tl.float32)
        else:
            codes = data + (cell * 512 + k * 16)[:, None] + lane[None, :]
            first = tl.load(codes).to(tl.float32)
            second = tl.load(codes + 256).to(tl.float32)
        if KIND != "fp8":
            factor = tl.load(scale + (cell * 16)[:, None] + lane[None, :]).to(tl.float32)
            first *= factor
            second *= factor
        if KIND == "int4":
            offset = tl.load(minimum + (cell * 16)[:, None] + lane[None, :]).to(tl.float32)
            first += offset
            second += offset
        acc = tl.dot(low, first, acc, input_precision=PRECISION)
        acc = tl.dot(high, second, acc, input_precision=PRECISION)
    row = tile * 16 + lane
    if KIND == "fp8":
        acc *= tl.load(scale + row)[None, :]
    outs = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    tl.store(outs, acc.to(out.dtype.element_ty), mask=(token[:, None] < tokens) & (row[None, :] < rows))


@rtriton.jit
def packed_gemv_kernel(
    x, data, scale, minimum, out, rows, groups, x_stride, out_stride,
    KIND: tl.constexpr, GROUPS: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """One token and 16 rows: GROUPS groups of k side by side, summed at the end. EVEN: GROUPS divides the groups."""
    token = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    lane = tl.arange(0, 16)
    k = tl.arange(0, 16)
    acc = tl.zeros([GROUPS, 16, 16], tl.float32)
    for start in range(0, groups, GROUPS):
        group = start + tl.arange(0, GROUPS)
        inside = group < groups
        if not EVEN:
            group = tl.minimum(group, groups - 1)  # groups past the end repeat the last one, times zero
        xs = x + token * x_stride + group[:, None] * 32 + k[None, :]
        low = tl.load(xs).to(tl.float32)
        high = tl.load(xs + 16).to(tl.float32)
        if not EVEN:
            low = tl.where(inside[:, None], low, 0.0)
            high = tl.where(inside[:, None], high, 0.0)
        cell = tile.to(tl.int64) * groups + group
        if KIND == "int4":
            codes = data + cell[:, None, None] * 256 + k[None, :, None] * 16 + lane[None, None, :]
            packed = tl.load(codes).to(tl.int32)
            first = (packed & 15).to(tl.float32)
            second = (packed >> 4).to(tl.float32)
        else:
            codes = data + cell[:, None, None] * 512 + k[None, :, None] * 16 + lane[None, None, :]
            first = tl.load(codes).to(tl.float32)
            second = tl.load(codes + 256).to(tl.float32)
        if KIND != "fp8":
            factor = tl.load(scale + cell[:, None] * 16 + lane[None, :]).to(tl.float32)
            first *= factor[:, None, :]
            second *= factor[:, None, :]
        if KIND == "int4":
            offset = tl.load(minimum + cell[:, None] * 16 + lane[None, :]).to(tl.float32)
            first += offset[:, None, :]
            second += offset[:, None, :]
        acc += low[:, :, None] * first + high[:, :, None] * second
    result = tl.sum(tl.reshape(acc, GROUPS * 16, 16), 0)
    row = tile * 16 + lane
    if KIND == "fp8":
        result *= tl.load(scale + row)
    tl.store(out + token * out_stride + row, result.to(out.dtype.element_ty), mask=row < rows)


@rtriton.jit
def dense_linear_kernel(
    x, weight, out, tokens, rows, columns, x_stride, weight_stride, out_stride,
    TOKENS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    k = tl.arange(0, BLOCK)
    xs = x + tl.minimum(token, tokens - 1).to(tl.int64)[:, None, None] * x_stride + k[None, None, :]
    ws = weight + tl.minimum(row, rows - 1).to(tl.int64)[None, :, None] * weight_stride + k[None, None, :]
    acc = tl.zeros([TOKENS, ROWS, BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        if EVEN:
            acc += tl.load(xs + start).to(tl.float32) * tl.load(ws + start).to(tl.float32)
        else:
            inside = (start + k < columns)[None, None, :]
            value = tl.load(xs + start, mask=inside, other=0.0).to(tl.float32)
            acc += value * tl.load(ws + start, mask=inside, other=0.0).to(tl.float32)
    result = tl.sum(acc, 2)
    outs = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    stored = (token[:, None] < tokens) & (row[None, :] < rows)
    tl.store(outs, result.to(out.dtype.element_ty), mask=stored)
