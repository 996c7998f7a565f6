"""How long random tests look: RTRITON_EXAMPLES=100 tries a hundred times as many programs as CI does."""

from __future__ import annotations

import os

EXAMPLES = int(100 * float(os.environ.get("RTRITON_EXAMPLES", "1")))
