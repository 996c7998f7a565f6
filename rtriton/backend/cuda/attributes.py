"""Launches that ask more of the driver than a grid: the options launch_pdl, launch_cooperative_grid and cluster_dims.

launch_pdl: the launch may begin before the one in front of it has ended; the kernel waits for that with gdc_wait.
launch_cooperative_grid: all programs run at once, or the launch is refused. cluster_dims: that many neighbouring
programs along each axis run at once on one part of the GPU (on sm_90 and later); the grid is made of whole clusters.
"""
from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from rtriton.backend.cuda import driver
from rtriton.errors import LaunchError


class Attributes:
    """Called as cuLaunchKernel is, and launches with what the options ask for."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.pdl, self.cooperative = bool(options.get("launch_pdl")), bool(options.get("launch_cooperative_grid"))
        x, y, z = options.get("cluster_dims") or (1, 1, 1)
        self.cluster = int(x), int(y), int(z)
        self._free: list[Any] = []

    @property
    def cluster_size(self) -> int:
        """Programs of a cluster."""
        return prod(self.cluster)

    def __bool__(self) -> bool:
        """Is there anything that a plain launch cannot say?"""
        return self.pdl or self.cooperative or self.cluster_size > 1

    def __call__(self, function: Any, x: int, y: int, z: int, threads: int, _y: int, _z: int, shared_bytes: int,
                 stream: int, table: int, told: int) -> tuple[Any]:
        if self.cluster_size > 1 and any(n % c for n, c in zip((x, y, z), self.cluster, strict=True)):
            raise LaunchError(f"a grid of {(x, y, z)} is not made of whole clusters of {self.cluster} programs")
        try:
            config = self._free.pop()
        except IndexError:
            config = self._config(threads, shared_bytes)
        config.gridDimX, config.gridDimY, config.gridDimZ, config.hStream = x, y, z, stream
        try:
            return driver.bindings().cuLaunchKernelEx(config, function, table, told)
        finally:
            self._free.append(config)

    def _config(self, threads: int, shared_bytes: int) -> Any:
        """What does not change from launch to launch."""
        cuda = driver.bindings()
        config = cuda.CUlaunchConfig()
        config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
        config.sharedMemBytes = shared_bytes
        kinds, made = cuda.CUlaunchAttributeID, list[Any]()
        if self.cooperative:
            made.append(_attribute(cuda, kinds.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, "cooperative", 1))
        if self.pdl:
            made.append(_attribute(cuda, kinds.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                   "programmaticStreamSerializationAllowed", 1))
        if self.cluster_size > 1:
            made.append(_attribute(cuda, kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, "clusterDim", self.cluster))
        config.attrs, config.numAttrs = made, len(made)
        return config


def _attribute(cuda: Any, kind: Any, field: str, setting: Any) -> Any:
    value, made = cuda.CUlaunchAttributeValue(), cuda.CUlaunchAttribute()
    if field == "clusterDim":
        value.clusterDim.x, value.clusterDim.y, value.clusterDim.z = setting
    else:
        setattr(value, field, setting)
    made.id, made.value = kind, value
    return made
