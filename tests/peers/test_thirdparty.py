"""Ten unmodified kernels of public projects, chosen before any of them was run, against torch.

The files are not in this repository: put them into .peers/thirdparty/ under their paths below (RTRITON_PEERS names
another place for .peers); where they are absent these tests skip. `import triton` in them is rtriton. Modules of the
projects that a kernel's file imports and that were not fetched are replaced by empty ones that decorate nothing.

They run where torch finds a GPU on that, else on the CPU backend; what became of them is in docs/language.md.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rtriton import compat  # noqa: E402

FOLDER = (Path(os.environ.get("RTRITON_PEERS") or Path(__file__).parents[2] / ".peers") / "thirdparty").resolve()
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# project, commit
LIGER = ("linkedin/Liger-Kernel", "ead96b618e5c67bddc6a6e9bcb99bfe6b5ab661c")
FLASH = ("Dao-AILab/flash-attention", "0251105a2fb19d2957484b7f023cd8c115286ced")
FLA = ("fla-org/flash-linear-attention", "bc3b101dcb713ddc5bd8924b66754eb68b5ccf89")
BNB = ("bitsandbytes-foundation/bitsandbytes", "95f9af309d4d5793847169c39288dcd3fcbdf564")
LIGHTLLM = ("ModelTC/lightllm", "fc72ffab9a3455cfb571f22d45ab777cc29de0de")

Pair = tuple[Any, Any]
CASES: list[tuple[str, tuple[str, str], str, Callable[[ModuleType], Iterator[Pair]], float]] = []


def case(project: tuple[str, str], path: str, tolerance: float) -> Callable[[Any], Any]:
    """A kernel's test: a generator of (what it gave, what torch gives)."""

    def declare(run: Callable[[ModuleType], Iterator[Pair]]) -> Callable[[ModuleType], Iterator[Pair]]:
        CASES.append((run.__name__, project, path, run, tolerance))
        return run

    return declare


class _Absent(ModuleType):
    """A module that is not there: its names are decorators and functions that give back what they get."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("kwargs"):
            return {}
        if name.startswith(("is_", "IS_")):
            return False if name.isupper() else lambda: False
        return lambda *args, **kwargs: args[0] if len(args) == 1 and callable(args[0]) else (lambda f: f)


class _AbsentModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder: modules of the projects that were not fetched."""

    projects = ("liger_kernel", "flash_attn", "fla", "bitsandbytes", "lightllm")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in self.projects:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


@pytest.fixture(scope="module", autouse=True)
def programs_say_triton() -> Iterator[None]:
    """`import triton` is rtriton while these tests run, and what it was before afterwards."""
    before = {n: sys.modules.pop(n) for n in list(sys.modules) if n == "triton" or n.startswith("triton.")}
    finders = list(sys.meta_path)
    compat.install()
    sys.meta_path.append(_AbsentModules())
    sys.path.insert(0, str(FOLDER))
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":  # a file asks the GPU for its warp size when it is imported
            patch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(warp_size=32))
            patch.setattr(torch.cuda, "current_device", lambda: 0)
        yield
    sys.path.remove(str(FOLDER))
    sys.meta_path[:] = finders
    compat.uninstall()
    for name in [n for n in sys.modules if n.split(".")[0] in _AbsentModules.projects]:
        del sys.modules[name]
    sys.modules.update(before)


def random(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> Any:
    """Standard normals, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> Any:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def shuffled(count: int, seed: int) -> Any:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


# ---- norms -------------------------------------------------------------------------------------------------


@case(LIGER, "liger_kernel/ops/rms_norm.py", 2e-2)
def rms_norm(module: ModuleType) -> Iterator[Pair]:
    for dtype in (torch.float32, torch.bfloat16):
        x, w = random(37, 300, dtype=dtype), random(300, dtype=dtype, seed=1)
        y, rstd = torch.empty_like(x), torch.empty(37, device=DEVICE)
        module._rms_norm_forward_kernel[(37,)](
            y, y.stride(0), x, x.stride(0), w, w.stride(0), rstd, 1, 300, 1e-6, 0.0, module._CASTING_MODE_LLAMA.value,
            elementwise_affine=True, BLOCK_SIZE=512, num_warps=4,
        )  # fmt: skip
        yield y, torch.nn.functional.rms_norm(x.float(), (300,), eps=1e-6) * w.float()


@case(FLASH, "flash_attn/ops/triton/layer_norm.py", 1e-4)
def layer_norm_with_residual(module: ModuleType) -> Iterator[Pair]:
    x, residual, w, b = random(33, 500), random(33, 500, seed=1), random(500, seed=2), random(500, seed=3)
    y, total = torch.empty_like(x), torch.empty_like(x)
    mean, rstd = torch.empty(33, device=DEVICE), torch.empty(33, device=DEVICE)
    module._layer_norm_fwd_1pass_kernel[(33,)](
        x, y, w, b, residual, None, None, None, None, total, None, None, None, None, mean, rstd, x.stride(0),
        y.stride(0), residual.stride(0), total.stride(0), 0, 0, 33, 500, 1e-5, 0.0, False, False, 512, True, True,
        True, False, False, HAS_ROWSCALE=False, HAS_X1=False, HAS_W1=False, HAS_B1=False,
    )  # fmt: skip
    yield total, x + residual
    yield y, torch.nn.functional.layer_norm(x + residual, (500,), w, b, 1e-5)


# ---- rotary embedding --------------------------------------------------------------------------------------


def _angles(length: int, half: int) -> tuple[Any, Any]:
    rates = 10000.0 ** (-torch.arange(half) / half)
    angle = torch.arange(length)[:, None] * rates
    return angle.cos().to(DEVICE), angle.sin().to(DEVICE)


def _rotated(x: Any, cos: Any, sin: Any) -> Any:
    """x: ... x heads x 2*half, rotated by halves; cos and sin: ... x half."""
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


@case(LIGER, "liger_kernel/ops/rope.py", 1e-5)
def rope(module: ModuleType) -> Iterator[Pair]:
    q, k = random(2, 6, 9, 32), random(2, 3, 9, 32, seed=1)
    cos, sin = _angles(9, 16)
    doubled = [torch.cat([t, t], -1)[None] for t in (cos, sin)]
    got_q, got_k, _, _ = module.rope_forward(q, k, *doubled)
    yield got_q, _rotated(q, cos, sin)
    yield got_k, _rotated(k, cos, sin)


@case(FLASH, "flash_attn/ops/triton/rotary.py", 1e-5)
def rotary(module: ModuleType) -> Iterator[Pair]:
    cos, sin = _angles(40, 32)
    for interleaved in (False, True):
        x = random(2, 17, 5, 64)
        out = torch.empty_like(x)
        module.rotary_kernel[(math.ceil(5 / 2), math.ceil(17 / 8), 2)](
            out, x, cos, sin, None, 4, 17, 5, 40, *out.stride(), *x.stride(), 64, False, False, interleaved, False,
            BLOCK_M=8, BLOCK_H=2,
        )  # fmt: skip
        c, s = cos[4:21, None, :], sin[4:21, None, :]
        if interleaved:
            even, odd = x[..., ::2], x[..., 1::2]
            yield out, torch.stack([even * c - odd * s, odd * c + even * s], -1).flatten(-2)
        else:
            yield out, _rotated(x, c, s)


# ---- losses ------------------------------------------------------------------------------------------------


@case(LIGER, "liger_kernel/ops/cross_entropy.py", 1e-5)
def cross_entropy(module: ModuleType) -> Iterator[Pair]:
    logits, target = random(20, 1000), integers(0, 1000, 20)
    target[3] = -100
    work, loss = logits.clone(), torch.zeros(20, device=DEVICE)
    module.liger_cross_entropy_kernel[(20,)](
        X_ptr=work, X_stride=1000, Y_ptr=target, Y_stride=1, weight_ptr=None, loss_ptr=loss, z_loss_ptr=None,
        loss_stride=1, token_accuracy_ptr=None, token_accuracy_stride=0, predicted_tokens_ptr=None,
        predicted_tokens_stride=0, n_cols=1000, n_non_ignore=19, sum_non_ignore_weight=19, weight_sum=0.0,
        ignore_index=-100, lse_square_scale=0.0, label_smoothing=0.1, reduction="mean", softcap=None,
        RETURN_Z_LOSS=False, RETURN_TOKEN_ACCURACY=False, RETURN_PREDICTED_TOKENS=False, BLOCK_SIZE=256,
        HAS_WEIGHT=False, HAS_SOFTCAPPING=False, HAS_GRADIENTS=True, num_warps=8,
    )  # fmt: skip
    wanted = logits.clone().requires_grad_()
    total = torch.nn.functional.cross_entropy(wanted, target, label_smoothing=0.1)
    total.backward()
    yield loss.sum(), total.detach()
    yield work, wanted.grad


# ---- mixture of experts ------------------------------------------------------------------------------------


@case(LIGER, "liger_kernel/ops/fused_moe.py", 3e-2)
def fused_moe(module: ModuleType) -> Iterator[Pair]:
    tokens, experts, hidden, inner, chosen = 70, 8, 64, 128, 2
    x = random(tokens, hidden) / 4
    up, down = random(experts, 2 * inner, hidden, seed=1) / 8, random(experts, hidden, inner, seed=2) / 8
    scores, index = torch.topk(torch.softmax(random(tokens, experts, seed=3), -1), chosen)

    got = module.LigerFusedMoEFunction.apply(x, up, down, index.to(torch.int32), scores)
    wanted = torch.zeros_like(x)
    for slot in range(chosen):
        gate, value = torch.einsum("tnh,th->tn", up[index[:, slot]], x).chunk(2, -1)
        inside = torch.nn.functional.silu(gate) * value
        wanted += scores[:, slot, None] * torch.einsum("thn,tn->th", down[index[:, slot]], inside)
    yield got, wanted


# ---- attention ---------------------------------------------------------------------------------------------


@case(LIGHTLLM, "lightllm/models/llama/triton_kernel/gqa_flash_decoding_stage1.py", 2e-2)
def paged_decode_attention(module: ModuleType) -> Iterator[Pair]:
    stage2 = importlib.import_module("lightllm.models.llama.triton_kernel.gqa_flash_decoding_stage2")
    lengths = torch.tensor([5, 300, 129], dtype=torch.int32, device=DEVICE)
    batch, heads, kv_heads, size, slots = 3, 8, 2, 64, 1000
    q = random(batch, heads, size, dtype=torch.float16)
    k, v = (random(slots, kv_heads, size, dtype=torch.float16, seed=s) for s in (1, 2))
    places = torch.stack([shuffled(slots, b)[:320] for b in range(batch)]).to(DEVICE, torch.int32)
    requests = torch.tensor([2, 0, 1], dtype=torch.int32, device=DEVICE)
    partial = torch.empty(batch, heads, 300 // 128 + 1, size, device=DEVICE)
    weights = torch.empty(batch, heads, 300 // 128 + 1, device=DEVICE)
    out = torch.empty_like(q)
    module.flash_decode_stage1(q, k, v, places, requests, lengths, 300, partial, weights, 128)
    stage2.flash_decode_stage2(partial, weights, lengths, out, 128)
    wanted = torch.empty(batch, heads, size, device=DEVICE)
    for b in range(batch):
        rows = places[requests[b], : lengths[b]].long()
        keys, values = (t[rows].float().repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        share = torch.softmax(torch.einsum("hd,nhd->hn", q[b].float(), keys) / math.sqrt(size), -1)
        wanted[b] = torch.einsum("hn,nhd->hd", share, values)
    yield out, wanted


@case(FLA, "fla/ops/delta_rule/fused_recurrent.py", 1e-4)
def delta_rule_linear_attention(module: ModuleType) -> Iterator[Pair]:
    batch, length, heads, size = 2, 13, 3, 16
    q, k, v = (random(batch, length, heads, size, seed=s) for s in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    beta = torch.sigmoid(random(batch, length, heads, seed=3))
    out, _, state = module.fused_recurrent_delta_rule_fwd(q, k, v, beta, size**-0.5, None, True)
    memory, wanted = torch.zeros(batch, heads, size, size, device=DEVICE), torch.empty_like(v)
    for t in range(length):
        error = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], memory)
        memory = memory + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * error)
        wanted[:, t] = torch.einsum("bhk,bhkv->bhv", q[:, t] * size**-0.5, memory)
    yield out, wanted
    yield state, memory


# ---- quantization ------------------------------------------------------------------------------------------

# the 16 values of NF4: Dettmers et al., QLoRA (2023), appendix E
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


@case(BNB, "bitsandbytes/backends/triton/kernels_4bit.py", 1e-6)
def nf4_quantization(module: ModuleType) -> Iterator[Pair]:
    count, block = 4096, 64
    x = random(count)
    packed = torch.zeros(count // 2, dtype=torch.uint8, device=DEVICE)
    scale = torch.zeros(count // block, device=DEVICE)
    module.quantize_4bit_blockwise_triton(x, block, "nf4", count // block, scale, count, packed)
    largest = x.view(-1, block).abs().amax(1)
    yield scale, largest
    levels = torch.tensor(NF4, device=DEVICE)
    nearest = (x.view(-1, block, 1) / largest[:, None, None] - levels).abs().argmin(-1).view(-1)
    yield packed.to(torch.int32), (nearest[::2] << 4 | nearest[1::2]).to(torch.int32)
    out = torch.empty(count, device=DEVICE)
    module.dequantize_4bit_impl(packed, scale, block, "nf4", torch.float32, out)
    yield out, levels[nearest] * largest.repeat_interleave(block)


# ---- sampling ----------------------------------------------------------------------------------------------


@case(LIGHTLLM, "lightllm/common/basemodel/triton_kernel/apply_penalty.py", 1e-5)
def sampling_penalties(module: ModuleType) -> Iterator[Pair]:
    batch, vocabulary = 3, 500
    logits = random(batch, vocabulary)
    penalties = {"presence": [0.5, 0.0, 1.0], "frequency": [0.1, 0.2, 0.0], "repetition": [1.0, 1.3, 1.1]}
    decay = torch.ones(batch, device=DEVICE)
    table = {name: torch.tensor(values, device=DEVICE) for name, values in penalties.items()}
    seen = [shuffled(vocabulary, b)[: 40 * b + 3] for b in range(batch)]
    counts = [torch.arange(len(s)) % 4 + 1 for s in seen]
    starts = torch.tensor([0, *torch.tensor([len(s) for s in seen]).cumsum(0)], dtype=torch.int32, device=DEVICE)
    stop = torch.tensor([7], dtype=torch.int32, device=DEVICE)
    masked = torch.tensor([True, False, False], device=DEVICE)
    got = logits.clone()

    class Manager:
        req_to_presence_penalty, req_to_frequency_penalty = table["presence"], table["frequency"]
        req_to_repetition_penalty, req_to_exponential_decay_length_penalty = table["repetition"], decay
        vocab_size = vocabulary

    rows, no_penalty = (torch.arange(batch, dtype=torch.int32, device=DEVICE) * n for n in (1, 0))
    ids, counted = (torch.cat(parts).to(DEVICE, torch.int32) for parts in (seen, counts))
    module.apply_penalty(got, rows, no_penalty, masked, ids, counted, starts, stop, Manager())
    wanted = logits.clone()
    for b in range(batch):
        at, r = seen[b].to(DEVICE), penalties["repetition"][b]
        kept = torch.where(wanted[b, at] > 0, wanted[b, at] / r, wanted[b, at] * r)
        wanted[b, at] = kept - counts[b].to(DEVICE) * penalties["frequency"][b] - penalties["presence"][b]
    wanted[0, 7] = -10000000.0
    yield got, wanted


@pytest.mark.parametrize("name, project, path, run, tolerance", CASES, ids=[c[0] for c in CASES])
def test_an_unmodified_kernel_of_a_public_project_is_right(
    name: str, project: tuple[str, str], path: str, run: Callable[[ModuleType], Iterator[Pair]], tolerance: float
) -> None:
    if not (FOLDER / path).is_file():
        pytest.skip(f"{path} of {project[0]} at {project[1][:12]} is not in {FOLDER}")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for got, wanted in run(module):
        torch.testing.assert_close(got.to(wanted.dtype), wanted, atol=tolerance, rtol=tolerance)
