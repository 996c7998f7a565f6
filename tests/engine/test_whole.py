"""From a model file to text, with real kernels: in this process and through the engine core's."""

from pathlib import Path

import numpy as np
import pytest

from engine.config import ConfigError, EngineConfig
from engine.core_client import CoreDied, SyncCoreClient
from engine.llm import LLM
from engine.engine import Engine
from engine.messages import SamplingParams, StepOutput, Submit, TokenOut
from engine.model_runner import load
from engine.models.config import read_config
from engine.weights.gguf import GGUFFile
from engine.weights.repack import load_weights
from tests.engine.tiny_model import reference_logits
from tests.make_model import write_model
from tests.reference.numpy_llama import NumpyLlama

PARAMS = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def config(path: Path, **options: object) -> EngineConfig:
    sizes: dict[str, object] = {"num_blocks": 32, "max_num_seqs": 2, "max_batched_tokens": 16}
    return EngineConfig(model=str(path), **{**sizes, **options})  # type: ignore[arg-type]


def truth(path: Path, tokens: list[int], count: int) -> list[int]:
    with GGUFFile.open(path) as file:
        shape = read_config(file)
        weights = load_weights(file, shape)
    answer = list(tokens)
    for _ in range(count):
        answer.append(int(reference_logits(shape, weights, answer)[-1].argmax()))
    return answer[len(tokens) :]


def test_a_file_gives_the_text_of_the_float64_model(path: Path):
    with LLM(config(path)) as llm:
        [answer] = llm.generate(["the cat and the dog"], PARAMS)
        assert answer.token_ids == truth(path, answer.prompt_token_ids, 8)
        stream = llm.tokenizer.stream()
        assert answer.text == stream.feed(answer.token_ids) + stream.finish()
        info = llm.engine.info
    assert (info.name, info.device, info.context_length) == ("tiny", "cpu", 256)
    assert info.details["weights"] == "int4"


@pytest.mark.parametrize(
    "model",
    [
        {"rope_factors": (1.0, 1.0, 1.5, 3.0, 6.0, 8.0, 8.0, 8.0), "rope_base": 100.0},
        {"hidden": 48, "heads": 2, "kv_heads": 2, "layer_type": "F32", "embedding_type": "F16"},
        {"hidden": 120, "heads": 3, "kv_heads": 1, "layer_type": "F16", "embedding_type": "F32", "tied": False},
    ],
    ids=["Llama 3's rotary scaling", "heads of 24", "heads of 40, three to a key head"],
)
def test_a_prompt_has_the_log_probabilities_of_the_float64_model(tmp_path: Path, model: dict[str, object]):
    path, tokens = write_model(tmp_path / "m.gguf", **model), np.random.default_rng(1).integers(3, 287, 40).tolist()
    logits = NumpyLlama.load(path, np.float64).logits(tokens)
    wanted = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    engine = Engine(load(config(path, num_blocks=8)))
    engine.submit(Submit("a", tokens, SamplingParams(max_tokens=0, prompt_logprobs=0)))
    outs: list[TokenOut] = []
    while engine.busy:
        outs += [out for event in engine.step() if isinstance(event, StepOutput) for out in event.tokens]
    engine.close()
    [scores] = [out.prompt_logprobs or [] for out in outs]
    got = [score.logprob for score in scores[1:] if score is not None]
    np.testing.assert_allclose(got, wanted[range(39), tokens[1:]], atol=1e-3)


def test_the_core_process_serves_a_file(path: Path):
    prompt = [int(token) for token in np.random.default_rng(0).integers(3, 200, 9)]
    core = SyncCoreClient(config(path), timeout=120)
    try:
        core.send(Submit("a", prompt, PARAMS))
        tokens: list[int] = []
        while len(tokens) < 8:
            for event in core.receive(60):
                assert isinstance(event, StepOutput), event
                tokens += [token for out in event.tokens for token in out.token_ids]
    finally:
        core.close(drain=False)
    assert tokens == truth(path, prompt, 8)


def test_a_shorter_context_bounds_prompt_and_answer_together(path: Path):
    with LLM(config(path, max_model_len=20)) as llm:
        [answer] = llm.generate([[5] * 15], SamplingParams(temperature=0.0, ignore_eos=True))
    assert (len(answer.token_ids), answer.finish_reason) == (5, "length")


def test_a_file_that_is_not_there_is_said_by_the_core():
    with pytest.raises(CoreDied, match=r"nowhere\.gguf"):
        SyncCoreClient(config(Path("nowhere.gguf")), timeout=120)


@pytest.mark.parametrize(
    ("options", "complaint"), [({"block_size": 8}, "block_size must be 16"), ({"extra": {"x": 1}}, "no extra options")]
)
def test_what_the_kernels_cannot_do_is_refused_before_loading(path: Path, options: dict[str, object], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        load(config(path, **options))
