"""What the system says of this process and of the machine's memory; 0 where it does not say."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of a container, in both versions of Linux' control groups."""


def machine_bytes() -> int:
    """Memory that this process could have at most: the machine's, or the container's limit."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0
    for path in LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        # "max" where there is none
        found = min(found, int(text)) if text.isdigit() else found
    return found


def process_age() -> float:
    """Seconds since this process was started, in steps of the system's clock tick; 0 where the system does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            started = int(file.read().rpartition(")")[2].split()[19])  # field 22, proc(5)
    except OSError:
        return 0.0
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"), 0.0)


def process_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def untouched_bytes(array: np.ndarray) -> int:
    """Bytes of a large array whose pages were never written, so that the process does not hold them yet."""
    if sys.platform != "linux" or not array.nbytes:
        return 0
    page = os.sysconf("SC_PAGE_SIZE")
    first = -(-array.ctypes.data // page) * page
    count = (array.ctypes.data + array.nbytes - first) // page
    if count <= 0:
        return 0
    import numpy as np  # the server, which has no arrays, asks for its age alone

    found = np.ones(count, np.uint8)
    here = ctypes.c_void_p(first), ctypes.c_size_t(count * page), found.ctypes.data_as(ctypes.c_void_p)
    if ctypes.CDLL(None).mincore(*here):
        return 0
    return int((found & 1 == 0).sum()) * page
