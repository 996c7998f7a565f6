"""The recorded logits are enough of them, a wrong answer is noticed, and the NumPy model and embeddings agree with
transformers.
"""

import json

import numpy as np
import pytest

from engine import fetch
from engine.config import EngineConfig
from engine.llm import LLM
from engine.params import PoolingParams
from tests.reference.compare import FILE, PROBES, Reference, Report, logsumexp, summarise
from tests.reference.make_embeddings import FILE as EMBEDDINGS
from tests.reference.make_embeddings import prompts
from tests.reference.numpy_llama import NumpyLlama


def test_the_record_is_of_the_pinned_model_and_covers_the_positions_asked_for() -> None:
    reference = Reference.load()
    assert reference.about["model_sha256"] == fetch.DEMO.sha256
    positions = sum(len(section.tokens) for section in reference.sections)
    sure = sum(int((section.margin > 0.04).sum()) for section in reference.sections)
    assert positions >= 2000 and sure / positions >= 0.8
    assert max(len(section.tokens) for section in reference.sections) > 1500
    assert FILE.stat().st_size < 1_500_000


def test_what_is_kept_compares_equal_to_what_it_was_made_from() -> None:
    logits = np.random.default_rng(0).standard_normal((7, 500)).astype(np.float32) * 3
    section, report = summarise("s", list(range(7)), logits), Report()
    report.add(section, logits)
    assert (report.positions, report.largest_difference, report.wrong) == (7, 0.0, [])
    assert np.array_equal(section.argmax, logits.argmax(axis=1)) and section.probe_ids.shape == (PROBES,)
    np.testing.assert_allclose(section.logsumexp, np.log(np.exp(logits.astype(np.float64)).sum(axis=1)), rtol=1e-6)


@pytest.mark.parametrize("fault", ["another argmax", "one wrong probe", "nan", "shifted tail"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    logits = np.random.default_rng(1).standard_normal((5, 400)).astype(np.float32)
    logits[:, 11] = 9
    section, wrong, report = summarise("s", [0] * 5, logits), logits.copy(), Report()
    if fault == "another argmax":
        wrong[2, 12] = 10
    elif fault == "one wrong probe":
        wrong[3, section.probe_ids[4]] += 0.03
    elif fault == "nan":
        wrong[4, section.probe_ids[0]] = np.nan
    else:
        stored = {11, *section.probe_ids, *section.top_ids[0]}
        wrong[0, [i for i in range(400) if i not in stored]] += 5  # in no stored entry, but in the logsumexp
    report.add(section, wrong)
    assert report.largest_difference > 0.02
    assert bool(report.wrong) == (fault in ("another argmax", "nan"))


def test_logsumexp_does_not_overflow() -> None:
    assert logsumexp(np.full((1, 2), 1e4, np.float32))[0] == pytest.approx(1e4 + np.log(2))


@pytest.mark.skipif(fetch.cached() is None, reason="the demo model has not been fetched")
def test_the_numpy_model_agrees_with_transformers() -> None:
    path = fetch.cached()
    assert path is not None
    model, report = NumpyLlama.load(path), Report()
    for section in Reference.load().sections:
        if section.name.startswith("chat"):
            report.add(section, model.logits(section.tokens))
    assert report.positions > 500 and report.largest_difference < 1e-3 and not report.wrong


@pytest.mark.skipif(fetch.cached() is None, reason="the demo model has not been fetched")
def test_embeddings_are_those_of_transformers() -> None:
    path = fetch.cached()
    assert path is not None
    with LLM(EngineConfig(str(path), device="cpu")) as llm, np.load(EMBEDDINGS) as recorded:
        assert json.loads(bytes(recorded["about"]))["model_sha256"] == fetch.DEMO.sha256
        for pooling in ("mean", "last"):
            wanted = recorded[pooling]
            lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
            raw, unit = (llm.embed(prompts(), PoolingParams(pooling, normalize)) for normalize in (False, True))
            assert len(wanted) == len(prompts()) >= 6
            # of 30 layers of float32, in another order of summing
            assert (np.linalg.norm(raw - wanted, axis=1) / lengths[:, 0]).max() < 2e-5
            assert np.abs(unit - wanted / lengths).max() < 2e-5
