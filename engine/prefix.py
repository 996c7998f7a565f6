"""Names for the contents of full blocks: a block's keys and values depend on its tokens and on all that came before.

    chain = [SHA-256(root, tokens of block 0), SHA-256(chain[0], tokens of block 1), ...]

The root holds the salt, so that requests with different salts share nothing and cannot tell from their speed what
another one has asked, and the adapter, of which there is none yet. Equal names mean equal contents: nobody finds two
inputs with one SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def root(salt: str, adapter: str = "") -> bytes:
    """What the chains of one salt and adapter begin with."""
    digest = hashlib.sha256()
    for part in (salt.encode(), adapter.encode()):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def extend(chain: list[bytes], first: bytes, tokens: Sequence[int], count: int, block_size: int) -> None:
    """Append the names of the full blocks of the first `count` tokens; `first` is the chain's root."""
    for block in range(len(chain), count // block_size):
        parent = chain[-1] if chain else first
        content = np.array(tokens[block * block_size : (block + 1) * block_size], np.int32)
        chain.append(hashlib.sha256(parent + content.tobytes()).digest())
