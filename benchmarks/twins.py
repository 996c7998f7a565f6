"""One text of kernels as two modules: by rtriton as it stands, by Triton with its two import lines changed."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

OURS = "import rtriton as triton\nimport rtriton.language as tl\n"
THEIRS = "import triton\nimport triton.language as tl\n"


@cache
def triton_twin(path: Path) -> ModuleType:
    """The module of kernels in the file, written against Triton. It is kept as a file, which Triton reads again."""
    text = path.read_text()
    if OURS not in text:
        raise ValueError(f"{path} does not import rtriton by the two lines that are replaced")
    copy = Path(tempfile.mkdtemp(prefix="twins-")) / f"triton_{path.name}"
    copy.write_text(text.replace(OURS, THEIRS))
    spec = importlib.util.spec_from_file_location(copy.stem, copy)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[copy.stem] = module
    spec.loader.exec_module(module)
    return module
