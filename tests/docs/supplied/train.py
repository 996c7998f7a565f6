"""Written for Triton: `python train.py --steps 10` where that is installed."""

import argparse

import numpy as np
import triton
import triton.language as tl


@triton.jit
def step(weights, gradients, n, rate, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    tl.store(weights + at, tl.load(weights + at, mask=mask) - rate * tl.load(gradients + at, mask=mask), mask=mask)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, required=True)
steps = parser.parse_args().steps
weights, gradients = np.ones(100, np.float32), np.full(100, 0.5, np.float32)
for _ in range(steps):
    step[(triton.cdiv(100, 64),)](weights, gradients, 100, 0.1, BLOCK=64)
assert np.allclose(weights, 1 - steps * 0.05)
