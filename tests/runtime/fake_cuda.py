"""A driver without a GPU: cuda.bindings.driver as rtriton uses it, with memory of this process, and kernels run by the
PTX emulator. So everything between `kernel[grid](...)` and the driver's calls is tested where there is no GPU.

    fake = install(monkeypatch, devices=2)
    kernel[grid](DeviceArray.zeros((64,), tl.float32))
    fake.launches[-1].stream
"""

from __future__ import annotations

import ctypes
import re
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rtriton.backend.cuda import current, driver
from rtriton.backend.ptx.emulate import emulate

CODES = {"u64": "Q", "s64": "q", "s32": "i", "u32": "I", "f32": "f", "f64": "d", "u16": "H", "s16": "h", "b16": "H",
         "u8": "B", "s8": "b"}
CAPABILITY = {"COMPUTE_CAPABILITY_MAJOR": 9, "COMPUTE_CAPABILITY_MINOR": 0, "MULTIPROCESSOR_COUNT": 132,
              "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448}
FUNCTION = {"MAX_THREADS_PER_BLOCK": 1024, "NUM_REGS": 32, "LOCAL_SIZE_BYTES": 0}


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_INVALID_HANDLE = 400


@dataclass(frozen=True)
class Launched:
    """One call of cuLaunchKernel or cuLaunchKernelEx; `attributes` are the latter's, by kind."""

    kernel: str
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    stream: int
    device: int
    arguments: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Function:
    """A kernel loaded on a device."""

    ptx: str
    name: str
    device: int
    module: Any
    settings: dict[str, int] = field(default_factory=dict)


class _Names:
    """Every attribute is its own name without CUDA's prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> str:
        return name.removeprefix(self._prefix)


class FakeDriver:
    """The module. `context` is the current device's ordinal, None before a context was made current."""

    CUdevice_attribute = _Names("CU_DEVICE_ATTRIBUTE_")
    CUfunction_attribute = _Names("CU_FUNC_ATTRIBUTE_")
    CUlaunchAttributeID = _Names("CU_LAUNCH_ATTRIBUTE_")
    CUjit_option, CUjitInputType = _Names("CU_JIT_"), _Names("CU_JIT_INPUT_")
    CUstream_flags, CUstreamCaptureMode = _Names("CU_STREAM_"), _Names("CU_STREAM_CAPTURE_MODE_")
    CUlaunchConfig = CUlaunchAttribute = SimpleNamespace

    def __init__(self, devices: int) -> None:
        self.devices, self.context, self.calls = devices, None, list[str]()
        self.memory: dict[int, np.ndarray] = {}
        self.total, self.others = 1 << 30, 0    # bytes; what other programs hold
        self.launches: list[Launched] = []
        self.linked: dict[int, bytes] = {}
        self.captures: dict[int, list[Launched]] = {}
        self.functions: list[Function] = []

    def CUlaunchAttributeValue(self) -> SimpleNamespace:
        return SimpleNamespace(clusterDim=SimpleNamespace())

    # -- devices and memory

    def cuInit(self, flags: int) -> tuple[Status]:
        return (Status.CUDA_SUCCESS,)

    def cuGetErrorName(self, status: Status) -> tuple[Status, bytes]:
        return Status.CUDA_SUCCESS, Status(status).name.encode()

    def cuGetErrorString(self, status: Status) -> tuple[Status, bytes]:
        return Status.CUDA_SUCCESS, b"as the fake driver says"

    def cuDeviceGetCount(self) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, self.devices

    def cuDeviceGet(self, ordinal: int) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, ordinal

    def cuDeviceGetName(self, length: int, device: int) -> tuple[Status, bytes]:
        return Status.CUDA_SUCCESS, b"Fake\0"

    def cuDeviceTotalMem(self, device: int) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, self.total

    def cuDriverGetVersion(self) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, 13000

    def cuDeviceGetAttribute(self, name: str, device: int) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, CAPABILITY[name]

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, 100 + device

    def cuCtxGetCurrent(self) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, 0 if self.context is None else 100 + self.context

    def cuCtxSetCurrent(self, context: int) -> tuple[Status]:
        self.context = context - 100
        return (Status.CUDA_SUCCESS,)

    def cuCtxGetDevice(self) -> tuple[Status, int]:
        return (Status.CUDA_ERROR_INVALID_CONTEXT, 0) if self.context is None else (Status.CUDA_SUCCESS, self.context)

    def cuMemAlloc(self, nbytes: int) -> tuple[Status, int]:
        room = np.zeros(nbytes + 256, np.uint8)
        start = -room.ctypes.data % 256
        made = room[start : start + nbytes]
        self.memory[made.ctypes.data] = made
        return Status.CUDA_SUCCESS, made.ctypes.data

    def cuMemFree(self, address: int) -> tuple[Status]:
        del self.memory[address]
        return (Status.CUDA_SUCCESS,)

    def cuMemGetInfo(self) -> tuple[Status, int, int]:
        """As a driver that rounds every allocation up to whole KiB."""
        taken = sum(-(-made.nbytes // 1024) * 1024 for made in self.memory.values())
        return Status.CUDA_SUCCESS, self.total - self.others - taken, self.total

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> tuple[Status]:
        ctypes.memmove(to, source, nbytes)
        return (Status.CUDA_SUCCESS,)

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync

    def cuMemsetD8Async(self, address: int, byte: int, nbytes: int, stream: int) -> tuple[Status]:
        ctypes.memset(address, byte, nbytes)
        return (Status.CUDA_SUCCESS,)

    def cuStreamSynchronize(self, stream: int) -> tuple[Status]:
        return (Status.CUDA_SUCCESS,)

    # -- code

    def cuLinkCreate(self, count: int, options: Sequence[Any], values: Sequence[Any]) -> tuple[Status, int]:
        self.linked[len(self.linked)] = b""
        return Status.CUDA_SUCCESS, len(self.linked) - 1

    def cuLinkAddData(self, state: int, kind: str, text: bytes, *_: Any) -> tuple[Status]:
        self.linked[state] = text.rstrip(b"\0")
        return (Status.CUDA_SUCCESS,)

    def cuLinkComplete(self, state: int) -> tuple[Status, int, int]:
        text = self.linked[state]
        _, address = self.cuMemAlloc(len(text))
        ctypes.memmove(address, text, len(text))
        return Status.CUDA_SUCCESS, address, len(text)

    def cuLinkDestroy(self, state: int) -> tuple[Status]:
        return (Status.CUDA_SUCCESS,)

    def cuModuleLoadData(self, cubin: bytes) -> tuple[Status, Any]:
        return Status.CUDA_SUCCESS, SimpleNamespace(ptx=cubin.decode(), device=self.context)

    def cuModuleUnload(self, module: Any) -> tuple[Status]:
        self.functions = [f for f in self.functions if f.module is not module]
        return (Status.CUDA_SUCCESS,)

    def cuModuleGetFunction(self, module: Any, name: bytes) -> tuple[Status, Function]:
        self.functions.append(Function(module.ptx, name.decode(), module.device, module))
        return Status.CUDA_SUCCESS, self.functions[-1]

    def cuFuncGetAttribute(self, name: str, function: Function) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, FUNCTION[name]

    def cuFuncSetAttribute(self, function: Function, name: str, value: int) -> tuple[Status]:
        function.settings[name] = value
        return (Status.CUDA_SUCCESS,)

    # -- launches and graphs

    def cuLaunchKernel(self, function: Function, x: int, y: int, z: int, threads: int, ty: int, tz: int, shared: int,
                       stream: int, table: int, extra: int) -> tuple[Status]:
        return self._launch("cuLaunchKernel", function, (x, y, z), threads, shared, stream, extra, {})

    def cuLaunchKernelEx(self, config: Any, function: Function, table: int, extra: int) -> tuple[Status]:
        attributes = {a.id: a.value for a in config.attrs}
        assert len(attributes) == config.numAttrs and (config.blockDimY, config.blockDimZ) == (1, 1)
        return self._launch("cuLaunchKernelEx", function, (config.gridDimX, config.gridDimY, config.gridDimZ),
                            config.blockDimX, config.sharedMemBytes, config.hStream, extra, attributes)

    def _launch(self, call: str, function: Function, grid: tuple[int, int, int], threads: int, shared: int, stream: int,
                told: int, attributes: dict[str, Any]) -> tuple[Status]:
        self.calls.append(call)
        if self.context is None:
            return (Status.CUDA_ERROR_INVALID_CONTEXT,)
        if function.device != self.context:
            return (Status.CUDA_ERROR_INVALID_HANDLE,)
        launched = Launched(function.name, grid, threads, shared, stream, self.context,
                            tuple(self._arguments(function.ptx, told)), attributes)
        if stream in self.captures:
            self.captures[stream].append(launched)
            return (Status.CUDA_SUCCESS,)
        self.run(function.ptx, launched)
        return (Status.CUDA_SUCCESS,)

    def run(self, ptx: str, launched: Launched) -> None:
        self.launches.append(launched)
        assert int(re.findall(r"\.reqntid (\d+)", ptx)[0]) == launched.threads
        emulate(ptx, launched.kernel, launched.grid, launched.arguments, shared=launched.shared_bytes)

    def _arguments(self, ptx: str, told: int) -> list[Any]:
        """What the buffer of parameters holds: arrays for addresses of memory that is there, numbers otherwise."""
        entry = re.search(r"\.entry\s+[\w$]+\s*\(([^)]*)\)", ptx)
        assert entry is not None
        types = re.findall(r"\.param \.(\w+)", entry[1])
        one, start, two, size, end = (ctypes.c_uint64 * 5).from_address(told)
        layout = struct.Struct("@" + "".join(CODES[type] for type in types))
        assert (one, two, end) == (1, 2, 0) and ctypes.c_size_t.from_address(size).value == layout.size
        values = layout.unpack(ctypes.string_at(start, layout.size))
        return [self._argument(value, type) for value, type in zip(values, types, strict=True)]

    def _argument(self, value: Any, type: str) -> Any:
        for address, room in self.memory.items():
            if type == "u64" and address <= value < address + max(1, len(room)):
                return room[value - address :]
        return value

    def cuStreamCreate(self, flags: Any) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, 77

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Status]:
        self.captures[stream] = []
        return (Status.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Status, Any]:
        return Status.CUDA_SUCCESS, self.captures.pop(stream)

    def cuStreamDestroy(self, stream: int) -> tuple[Status]:
        return (Status.CUDA_SUCCESS,)

    def cuGraphInstantiate(self, graph: Any, flags: int) -> tuple[Status, Any]:
        return Status.CUDA_SUCCESS, graph

    def cuGraphLaunch(self, graph: Sequence[Launched], stream: int) -> tuple[Status]:
        for launched in graph:
            self.run(next(f.ptx for f in self.functions if f.name == launched.kernel), launched)
        return (Status.CUDA_SUCCESS,)

    def cuGraphGetNodes(self, graph: Sequence[Launched], count: int) -> tuple[Status, None, int]:
        return Status.CUDA_SUCCESS, None, len(graph)

    def cuGraphDestroy(self, graph: Any) -> tuple[Status]:
        return (Status.CUDA_SUCCESS,)

    cuGraphExecDestroy = cuGraphDestroy


CACHED = ("bindings", "_primary_context", "_device", "alike")


def install(patch: pytest.MonkeyPatch, devices: int = 1) -> FakeDriver:
    """Have rtriton use a fake driver until the test ends."""
    fake = FakeDriver(devices)
    patch.setitem(sys.modules, "cuda.bindings.driver", fake)         # pyright: ignore[reportArgumentType]
    for name in CACHED:
        patch.setattr(driver, name, cache(getattr(driver, name).__wrapped__))
    patch.setattr(current, "place", current._place)
    return fake
