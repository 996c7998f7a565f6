"""Record the demo model's embeddings with transformers: the hidden states of its `LlamaModel` after the final norm, in
float32, dequantized from the same GGUF file, pooled in float64.

Needs torch and transformers beside the project (`pip install '.[serve,reference]'`). From the root of the checkout:

    python -m tests.reference.make_embeddings MODEL.gguf       # writes tests/reference/smollm2_135m_embeddings.npz

The prompts are beginnings of the recorded texts (`make_reference.py`), so that the file holds no tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from tests.reference.compare import Reference
from tests.reference.make_reference import loaded_by_transformers

FILE = Path(__file__).with_name("smollm2_135m_embeddings.npz")
LENGTHS = (1, 7, 16, 60, 120, 200)
"""Tokens of the beginning of each recorded text in turn."""


def prompts() -> list[list[int]]:
    """Token ids."""
    sections = Reference.load().sections
    return [section.tokens[:length].tolist() for length, section in zip(LENGTHS, sections, strict=False)]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description="Record the demo model's reference embeddings.")
    parser.add_argument("model", type=Path)
    model: Path = parser.parse_args().model
    loaded, versions = loaded_by_transformers(model, "AutoModel")
    states = []
    with torch.no_grad():
        for tokens in prompts():
            states.append(loaded(torch.tensor([tokens])).last_hidden_state[0].numpy().astype(np.float64))
    about = {
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "class": type(loaded).__name__,
        **versions,
    }
    np.savez_compressed(
        FILE,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        mean=np.stack([state.mean(0) for state in states]).astype(np.float32),
        last=np.stack([state[-1] for state in states]).astype(np.float32),
    )
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, {[len(state) for state in states]} tokens, {about}")


if __name__ == "__main__":
    main()
