"""PTX made machine code for the GPU that is here."""
from __future__ import annotations

import ctypes
import shlex

from rtriton.backend.cuda import driver
from rtriton.errors import LaunchError


def assembled(name: str, ptx: str, options: str | None) -> bytes:
    """The cubin: by the driver's linker, so that it can be looked at and kept; by ptxas where that is given options."""
    if options:
        from rtriton.backend.ptx.ptxas import assemble

        target = next(line.split()[1] for line in ptx.splitlines() if line.startswith(".target"))
        return assemble(ptx, target.rstrip(","), options=tuple(shlex.split(options))).cubin
    cuda = driver.bindings()
    option = cuda.CUjit_option
    log = bytearray(8192)
    state = driver.call("cuLinkCreate", 3, [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                                            option.CU_JIT_GENERATE_LINE_INFO], [log, len(log), 1])
    text = ptx.encode() + b"\0"
    try:
        kind = cuda.CUjitInputType.CU_JIT_INPUT_PTX
        status, *_ = cuda.cuLinkAddData(state, kind, text, len(text), name.encode(), 0, [], [])
        if int(status) != 0:
            said = log.split(b"\0")[0].decode(errors="replace")
            raise LaunchError(f"the driver does not assemble {name}: {driver.explain(cuda, status)}\n{said}")
        image, size = driver.call("cuLinkComplete", state, what=f"linking {name}")
        return ctypes.string_at(int(image), size)
    finally:
        driver.call("cuLinkDestroy", state)
