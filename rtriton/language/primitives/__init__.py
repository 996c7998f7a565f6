"""The primitive ops: what tile IR can say. Public `tl.*` functions, with their coercions, are built from these.

A file is a family, as the backends' files of lowerings are; in this order they are in OPS.
"""
from rtriton.language.primitives import leaves, elementwise, shape, memory, combine, control, assembly, debug

__all__ = ["leaves", "elementwise", "shape", "memory", "combine", "control", "assembly", "debug"]
