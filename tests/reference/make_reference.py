"""Record the demo model's logits with transformers: float32, dequantized from the same GGUF file, teacher-forced.

Needs torch and transformers beside the project (`pip install '.[serve,reference]'`), and three
minutes. From the root of the checkout:

    python -m tests.reference.make_reference MODEL.gguf            # writes tests/reference/smollm2_135m_q4_1.npz
    python -m tests.reference.make_reference MODEL.gguf --check    # runs again and compares with the stored file
    python -m tests.reference.make_reference MODEL.gguf --live tests.reference.numpy_llama:all_logits

`--live module:function` compares *every* logit with those of `function(path, tokens) -> (len(tokens), vocabulary)`,
of the engine or of any other implementation; `--limit` takes only the first positions of each text.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.chat_template import ChatTemplate
from engine.tokenizer import Tokenizer
from engine.weights.gguf import GGUFFile
from tests.reference.compare import FILE, Reference, Report, summarise

TEXTS = Path(__file__).with_name("texts")
Logits = Callable[[list[int]], np.ndarray]


def texts(model: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and tokens of each text; the last is several texts in one, for positions far from the start."""
    with GGUFFile.open(model) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata, model)
        template = ChatTemplate.choose(file.metadata, tokenizer)
    plain = {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.txt"))}
    for name, text in plain.items():
        yield name, tokenizer.encode(text)
    for index, messages in enumerate(json.loads((TEXTS / "chat.json").read_text(encoding="utf-8"))):
        yield f"chat {index}", tokenizer.encode_guarded(template.render(messages, add_generation_prompt=False))
    yield "long", tokenizer.encode("\n\n".join([plain["languages"], plain["numbers"], plain["prose"]]))


def loaded_by_transformers(model: Path, kind: str) -> tuple[Any, dict[str, str]]:
    """A GGUF file as transformers' class `kind` in float32, and the versions of what loaded it."""
    import torch
    import transformers

    loaded = getattr(transformers, kind).from_pretrained(
        str(model.parent),
        gguf_file=model.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
        attn_implementation="eager",
    )
    if {parameter.dtype for parameter in loaded.parameters()} != {torch.float32}:
        raise SystemExit("transformers did not load the model in float32")
    return loaded, {"torch": torch.__version__, "transformers": transformers.__version__}


def transformers_logits(model: Path) -> tuple[Logits, dict[str, str]]:
    import torch

    loaded, versions = loaded_by_transformers(model, "AutoModelForCausalLM")

    @torch.no_grad()
    def logits(tokens: list[int]) -> np.ndarray:
        return loaded(torch.tensor([tokens])).logits[0].numpy()

    return logits, versions


def main() -> None:
    parser = argparse.ArgumentParser(description="Record or compare the demo model's reference logits.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the stored file instead of writing it")
    parser.add_argument("--live", metavar="MODULE:FUNCTION", help="compare every logit with another implementation's")
    parser.add_argument("--limit", type=int, help="positions of each text")
    args = parser.parse_args()
    logits, versions = transformers_logits(args.model)
    if args.live:
        compare_live(args.model, logits, args.live, args.limit)
    elif args.check:
        check(logits)
    else:
        write(args.model, logits, versions)


def write(model: Path, logits: Logits, versions: dict[str, str]) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    sections = tuple(summarise(name, tokens, logits(tokens)) for name, tokens in texts(model))
    Reference({"model_sha256": digest, **versions}, sections).save()
    margins = np.concatenate([section.margin for section in sections])
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, {len(margins)} positions, {(margins > 0.04).mean():.1%} sure")


def check(logits: Logits) -> None:
    report = Report()
    for section in Reference.load().sections:
        report.add(section, logits(section.tokens.tolist()))
    print(report)


def compare_live(model: Path, logits: Logits, other: str, limit: int | None) -> None:
    module, _, function = other.partition(":")
    theirs = getattr(importlib.import_module(module), function)
    largest, moved, positions = 0.0, 0, 0
    for name, tokens in texts(model):
        part = tokens[:limit]
        want, got = logits(part), theirs(model, part)
        difference = float(np.abs(got - want).max())
        largest, positions = max(largest, difference), positions + len(part)
        moved += int((want.argmax(axis=1) != got.argmax(axis=1)).sum())
        print(f"{name}: {len(part)} positions, largest difference {difference:.6f}", flush=True)
    print(f"all: {positions} positions, largest difference {largest:.6f}, another argmax at {moved}")


if __name__ == "__main__":
    main()
