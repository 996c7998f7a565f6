"""The engine on a tiny random Llama and the real kernels: the laws of batching hold to the last token.

`truth` decodes greedily from float64 logits of the whole sequence. Where its two best logits are closer than what
float32 can tell apart the seeds below would be unusable; a test makes sure that they are not.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from engine.config import ConfigError, EngineConfig
from engine.engine import Engine
from engine.memory import HostMemory
from engine.messages import SamplingParams, StepOutput, Submit
from engine.model_runner import ModelRunner, build
from engine.models.llama import KVCache
from engine.runner import DeviceLost
from rtriton.errors import LaunchError
from tests.engine.drive import run
from tests.engine.tiny_model import CONFIG, random_weights, reference_logits

WEIGHTS = random_weights()
PROMPTS = [[int(t) for t in np.random.default_rng(seed).integers(1, 96, 3 + 5 * seed)] for seed in range(5)]
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)


def engine(**options: object) -> Engine:
    defaults: dict[str, object] = {"model": "tiny", "num_blocks": 32, "max_num_seqs": 4, "max_batched_tokens": 32}
    config = EngineConfig(**{**defaults, **options})  # type: ignore[arg-type]
    return Engine(build(config, CONFIG, WEIGHTS, HostMemory()))


def truth(prompt: list[int], count: int) -> tuple[list[int], float]:
    """Greedy tokens, and the smallest margin between the best and the second best logit on the way."""
    tokens, margins = list(prompt), []
    for _ in range(count):
        logits = reference_logits(CONFIG, WEIGHTS, tokens)[-1]
        second, best = np.sort(logits)[-2:]
        margins.append(best - second)
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :], float(min(margins))


def submits(params: SamplingParams = GREEDY) -> list[Submit]:
    return [Submit(f"r{index}", prompt, params) for index, prompt in enumerate(PROMPTS)]


def test_greedy_tokens_are_those_of_the_float64_model():
    got = run(engine(), [(index, request) for index, request in enumerate(submits())])
    for index, prompt in enumerate(PROMPTS):
        want, margin = truth(prompt, 12)
        assert margin > 1e-3
        assert got[f"r{index}"].tokens == want


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(temperature=0.9, top_p=0.9, seed=5, max_tokens=10)])
def test_batched_is_alone_and_preempted_is_uninterrupted_and_chunked_is_whole(params: SamplingParams):
    whole = {r.request_id: run(engine(max_batched_tokens=64), [(0, r)])[r.request_id].tokens for r in submits(params)}
    batched = run(engine(), [(0, request) for request in submits(params)])
    chunked = run(engine(max_batched_tokens=4), [(0, request) for request in submits(params)])
    small = engine(num_blocks=3)
    squeezed = run(small, [(0, request) for request in submits(params)])
    assert small.pool.used == 0
    for name, tokens in whole.items():
        assert batched[name].tokens == tokens
        assert chunked[name].tokens == tokens
        assert squeezed[name].tokens == tokens


def test_a_preempted_sequence_goes_on_as_if_nothing_had_happened():
    small = engine(num_blocks=3)
    requests = [Submit(name, prompt, GREEDY) for name, prompt in zip("ab", (PROMPTS[2], PROMPTS[2][::-1]), strict=True)]
    got = run(small, [(0, request) for request in requests])
    assert small.scheduler.counters.preemptions > 0
    for request in requests:
        assert got[request.request_id].tokens == run(engine(), [(0, request)])[request.request_id].tokens


def test_replayed_is_eager_and_replays_are_counted():
    replayed, eager = engine(), engine(capture=False)
    got = [run(it, [(0, request) for request in submits()]) for it in (replayed, eager)]
    assert {name: it.tokens for name, it in got[0].items()} == {name: it.tokens for name, it in got[1].items()}
    assert replayed.stats().replays == replayed.stats().steps
    assert eager.stats().replays == 0


def test_one_recording_serves_rows_of_different_settings():
    it = engine()
    runner = it.runner
    assert isinstance(runner, ModelRunner)
    each = [
        SamplingParams(temperature=t, seed=s, max_tokens=6, ignore_eos=True) for t, s in ((0.0, 1), (1.5, 2), (1.5, 3))
    ]
    for index, params in enumerate(each):
        it.submit(Submit(f"r{index}", PROMPTS[0], params))
    answers: dict[str, list[int]] = {}
    while it.busy:
        for event in it.step():
            assert isinstance(event, StepOutput)
            for out in event.tokens:
                answers.setdefault(out.request_id, []).extend(out.token_ids)
    assert len(runner.sample.recordings) == 1
    assert all(a != b for a, b in itertools.combinations(answers.values(), 2))
    for index, params in enumerate(each):
        alone = run(engine(), [(0, Submit("x", PROMPTS[0], params))])["x"].tokens
        assert answers[f"r{index}"] == alone


def test_logits_that_are_not_finite_fail_their_row_alone():
    broken = replace(random_weights(), head=WEIGHTS.head)
    broken.embedding.scale[0, :, 5] = np.inf  # the embedding of token 5
    config = EngineConfig(model="tiny", num_blocks=32, max_num_seqs=4, max_batched_tokens=32)
    it = Engine(build(config, CONFIG, broken, HostMemory()))
    got = run(it, [(0, Submit("bad", [7, 5], GREEDY)), (0, Submit("good", [7, 8], GREEDY))])
    failure = got["bad"].failure
    assert failure is not None and "no finite logits" in failure.message
    assert got["good"].tokens == truth([7, 8], 12)[0]


def test_a_step_computes_nothing_in_numpy(monkeypatch: pytest.MonkeyPatch):
    it = engine()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a forward operation ran in NumPy")

    for name in ("matmul", "dot", "einsum", "inner", "tensordot", "vdot"):
        monkeypatch.setattr(np, name, refuse)
    got = run(it, [(0, request) for request in submits()])
    assert all(len(it.tokens) == 12 for it in got.values())


def test_logprobs_are_of_the_models_own_distribution():
    it = engine()
    it.submit(Submit("a", PROMPTS[1], SamplingParams(temperature=0.0, max_tokens=1, logprobs=0, ignore_eos=True)))
    [output] = it.step()
    assert isinstance(output, StepOutput)
    [out] = output.tokens
    logits = reference_logits(CONFIG, WEIGHTS, PROMPTS[1])[-1]
    want = logits[out.token_ids[0]] - np.log(np.exp(logits).sum())
    assert out.logprobs is not None
    np.testing.assert_allclose(out.logprobs[0].logprob, want, atol=1e-4)


def test_a_recording_lists_the_kernels_of_its_step():
    it = engine()
    run(it, [(0, Submit("a", PROMPTS[0], GREEDY))])
    runner = it.runner
    assert isinstance(runner, ModelRunner)
    names = [launch.kernel for launch in runner.forward.recordings[1, 1].launches]
    layer = ["rms_norm_kernel", "packed_linear_kernel", "rope_kv_write_kernel", "paged_attention_kernel"]
    layer += ["packed_linear_kernel", "rms_norm_kernel", "packed_linear_kernel", "silu_mul_kernel"]
    layer += ["packed_linear_kernel"]
    last = ["rms_norm_kernel", "gather_rows_kernel", "packed_linear_kernel"]
    assert names == ["embedding_packed_kernel", *layer * CONFIG.num_layers, *last]
    assert [launch.kernel for launch in runner.sample.recordings[1].launches][-1] == "pick_kernel"


@pytest.mark.parametrize(("alive", "wanted"), [(True, LaunchError), (False, DeviceLost)])
def test_a_launch_error_is_fatal_only_if_the_device_is_gone(monkeypatch, alive: bool, wanted: type[Exception]):  # type: ignore[no-untyped-def]
    runner = engine().runner
    assert isinstance(runner, ModelRunner)

    def fail(batch: object) -> None:
        raise LaunchError("illegal address")

    monkeypatch.setattr(runner.model, "forward", fail)
    monkeypatch.setattr(runner.memory, "alive", lambda: alive)
    with pytest.raises(wanted, match="illegal address"):
        runner.run(runner.buffers.dummy(1, 1))


def test_a_cache_is_as_large_as_its_memory_or_as_all_rows_together():
    blocks = [
        build(EngineConfig(model="tiny", kv_cache_bytes=size), CONFIG, WEIGHTS, HostMemory()).info.num_blocks
        for size in (10 * KVCache.block_bytes(CONFIG, 4) + 1, 1 << 30)
    ]
    assert blocks == [10, 64 * 64 // 16]


def test_a_context_beyond_the_models_own_is_refused():
    with pytest.raises(ConfigError, match=f"max_model_len must be at most {CONFIG.context_length}"):
        engine(max_model_len=CONFIG.context_length + 1)


def test_a_context_that_was_asked_for_and_does_not_fit_the_cache_is_refused():
    with pytest.raises(ConfigError, match=r"must hold max_model_len=40 .* 3 blocks .* raise kv_cache_bytes"):
        size = 2 * KVCache.block_bytes(CONFIG, itemsize=4)
        build(EngineConfig(model="tiny", kv_cache_bytes=size, max_model_len=40), CONFIG, WEIGHTS, HostMemory())


def test_a_cache_that_holds_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one block"):
        build(EngineConfig(model="tiny", kv_cache_bytes=100), CONFIG, WEIGHTS, HostMemory())


def test_a_start_on_a_cpu_imports_nothing_that_takes_half_a_second_and_is_not_used() -> None:
    """bfloat16 and fp8 in NumPy, and what PTX means: of the time to the first answer they were a third."""
    program = (
        "import sys; from tests.engine.test_model_runner import engine; engine().runner.warm_up();"
        "print([m for m in ('ml_dtypes', 'tokenizers', 'rtriton.backend.ptx.isa') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
