"""What a loaded model is: plain frozen data, one `QuantWeight` per matrix a step multiplies with.

Matrices that read the same input are stacked along their output rows, so that a layer runs four products:

    qkv      rows: all query heads, then key heads, then value heads
    output   the attention's output projection
    gate_up  rows: the gate's, then the up projection's
    down

Query and key rows are in the *half-split* order of rotary embedding: in each head, element i turns together with
element i + head_dim/2 (`engine/weights/repack.py` says what a GGUF file has instead).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ops.quant import QuantWeight, on_device


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One transformer layer."""

    attn_norm: Any  # float32 (hidden,)
    qkv: QuantWeight  # (heads + 2 kv_heads) * head_dim, hidden
    output: QuantWeight  # hidden, heads * head_dim
    ffn_norm: Any  # float32 (hidden,)
    gate_up: QuantWeight  # 2 * intermediate, hidden
    down: QuantWeight  # hidden, intermediate


@dataclass(frozen=True, eq=False)
class ModelWeights:
    """All of a Llama model. `head` is `embedding` itself where the file ties them."""

    embedding: QuantWeight  # vocabulary, hidden
    layers: tuple[LayerWeights, ...]
    output_norm: Any  # float32 (hidden,)
    head: QuantWeight  # vocabulary, hidden
    notes: tuple[str, ...] = ()  # what was converted on the way in, one sentence each

    @property
    def kinds(self) -> list[str]:
        """Of the layers' matrices."""
        return sorted({layer.qkv.kind for layer in self.layers} | {layer.down.kind for layer in self.layers})

    @property
    def nbytes(self) -> int:
        matrices = [self.embedding] + ([] if self.head is self.embedding else [self.head])
        norms = [self.output_norm]
        for layer in self.layers:
            matrices += [layer.qkv, layer.output, layer.gate_up, layer.down]
            norms += [layer.attn_norm, layer.ffn_norm]
        return sum(m.nbytes for m in matrices) + sum(n.nbytes for n in norms)


def move(weights: ModelWeights, to: Callable[[Any], Any]) -> ModelWeights:
    """The same model with every array passed through `to`; a tied embedding stays one array."""
    embedding = on_device(weights.embedding, to)
    head = embedding if weights.head is weights.embedding else on_device(weights.head, to)
    layers = tuple(
        LayerWeights(
            attn_norm=to(layer.attn_norm),
            qkv=on_device(layer.qkv, to),
            output=on_device(layer.output, to),
            ffn_norm=to(layer.ffn_norm),
            gate_up=on_device(layer.gate_up, to),
            down=on_device(layer.down, to),
        )
        for layer in weights.layers
    )
    return replace(weights, embedding=embedding, head=head, layers=layers, output_norm=to(weights.output_norm))
