"""`tl.core.extern_elementwise`: a function of CUDA's libdevice by its symbol, done by ours of that name.

There is no linker here: `__nv_tanhf` is our tanh. A symbol that we have no function for is an error that names it.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import PUBLIC, Context, Public, public, unwrap
from rtriton.source import KernelFunction
from rtriton.types import dtype_of, show_type, show_types

PREFIX = "__nv_"
OTHER_NAMES = {"fabs": "abs", "fmin": "minimum", "fmax": "maximum"}  # C's names of what `tl` calls otherwise


@public()
def extern_elementwise(b: Context, lib_name: Any, lib_path: Any, args: Any, arg_type_symbol_dict: Any,
                       is_pure: Any) -> Value:
    """The function that `arg_type_symbol_dict` names for the types of `args`, {(types): (symbol, result type)}, on each
    element; `args` are broadcast to one shape. TypeError for other types, ValueError for a symbol we do not have."""
    table = {tuple(map(unwrap, types)): found for types, found in unwrap(arg_type_symbol_dict).items()}
    values = [s.to_value(b, x) for x in unwrap(args)]
    shape = s.broadcast_shape(*(v.type for v in values)) if values else ()
    values = [s.broadcast_to(b, v, shape) for v in values]
    types = tuple(dtype_of(v.type) for v in values)
    if types not in table:
        known = " or ".join(f"({show_types(t)})" for t in table)
        raise TypeError(f"extern_elementwise takes {known or 'nothing'}, got ({show_types(types)})")
    symbol, wanted = (unwrap(x) for x in table[types])
    function = _function(str(symbol))
    result = function.fn(b, *values) if isinstance(function, Public) else b.inline(function, values, {})
    if dtype_of(result.type) != wanted:
        raise TypeError(f"extern_elementwise: {symbol} gives {show_type(result.type)}, not {show_type(wanted)}")
    return result


def _function(symbol: str) -> Public | KernelFunction:
    """Ours of the name in a symbol, without the f that marks its form for floats."""
    name = symbol.removeprefix(PREFIX)
    if symbol.startswith(PREFIX):
        library = import_module("rtriton.language.extra.libdevice")
        for plain in (name, name.removesuffix("f")):
            plain = OTHER_NAMES.get(plain, plain)
            found = getattr(library, plain, None) or PUBLIC.get(plain)
            if isinstance(found, (Public, KernelFunction)):
                return found
    raise ValueError(f"extern_elementwise: there is no function for the symbol {symbol!r}: rtriton links no library, "
                     "it has functions of its own for the names in tl.extra.libdevice")
