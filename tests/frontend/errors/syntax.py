"""Python that the kernel language does not have."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def lambda_(x, n):
    f = lambda a: a  # ERROR 9: the kernel language has no lambda: define a function under @jit and pass its name


@kernel
def try_(x, n):
    try:  # ERROR 5: the kernel language has no try: a kernel cannot catch errors; check with tl.device_assert, or
        pass
    except ValueError:
        pass


@kernel
def raise_(x, n):
    if n > 3:
        raise ValueError("too large")  # ERROR 9: the kernel language has no raise: use tl.device_assert, or


@kernel
def bare_raise(x, n):
    raise  # ERROR 5: the kernel language has no raise: use tl.device_assert, or tl.static_assert for what is known


@kernel
def nested_function(x, n):
    def f():  # ERROR 5: the kernel language has no nested functions: define it outside the kernel under @jit
        pass


@kernel
def nested_class(x, n):
    class C:  # ERROR 5: the kernel language has no class: define it outside the kernel
        pass


@kernel
def import_(x, n):
    import math  # ERROR 5: the kernel language has no import: import at the top of the file


@kernel
def import_from(x, n):
    from math import pi  # ERROR 5: the kernel language has no import: import at the top of the file


@kernel
def global_(x, n):
    global y  # ERROR 5: the kernel language has no global: return the value, or pass it as an argument
    y = n


@kernel
def del_(x, n):
    del n  # ERROR 5: the kernel language has no del: just do not use the name again


@kernel
def yield_(x, n):
    yield n  # ERROR 5: the kernel language has no yield: a kernel function is no generator; return a tuple


@kernel
def yield_in_an_expression(x, n):
    y = (yield n) + 1  # ERROR 10: the kernel language has no yield: a kernel function is no generator; return a tuple


@kernel
async def async_(x, n):  # ERROR 1: the kernel language has no async: a kernel runs on the device from start to end
    pass


@kernel
def walrus(x, n):
    if (y := n) > 1:  # ERROR 9: the kernel language has no walrus assignments: write the assignment on a line of its
        pass


@kernel
def dict_(x, n):
    y = {"a": n}  # ERROR 9: the kernel language has no dict and set displays: use a tuple


@kernel
def set_(x, n):
    y = {n, 2}  # ERROR 9: the kernel language has no dict and set displays: use a tuple


@kernel
def generator(x, n):
    y = sum(i for i in (1, 2))  # ERROR 13: the kernel language has no generator expressions: write [... for ... in


@kernel
def two_fors_in_a_comprehension(x, n):
    y = [i * j for i in (1, 2) for j in (3, 4)]  # ERROR 9: the kernel language has no comprehensions with several for


@kernel
def match_(x, n):
    match n:  # ERROR 5: the kernel language has no match: write if, elif and else
        case 1:
            pass


@kernel
def complex_number(x, n):
    y = n + 2j  # ERROR 13: the kernel language has no complex numbers: keep the real and the imaginary part apart


@kernel
def bytes_(x, n):
    y = b"abc"  # ERROR 9: the kernel language has no bytes: use a text


@kernel
def with_(x, n):
    with open("file") as f:  # ERROR 10: the kernel language has no with, but for classes with __enter__ and __exit__
        pass


@kernel
def else_of_a_for(x, n):
    for i in range(n):
        pass
    else:  # ERROR 5: the kernel language has no else for for loops: set a variable before `break` and test it after
        pass


@kernel
def else_of_a_while(x, n):
    while n > 1:
        n -= 1
    else:  # ERROR 5: the kernel language has no else for while loops: set a variable before `break` and test it after
        pass


@kernel
def matmul_operator(x, n):
    a = tl.zeros((16, 16), tl.float32)
    b = a @ a  # ERROR 9: the kernel language has no @: use tl.dot(a, b)


@kernel
def power(x, n):
    y = n ** 2  # ERROR 9: ** needs numbers known when compiling; use tl.exp2(y * tl.log2(x)) or multiply


@kernel
def item_assignment(x, n):
    y = tl.arange(0, 4)
    y[0] = 1  # ERROR 5: only names can be assigned: tiles and tuples are values; memory is written with


@kernel
def item_in_place(x, n):
    y = tl.arange(0, 4)
    y[0] += 1  # ERROR 5: only a name can be changed in place: tiles and tuples are values; memory is written with


@kernel
def attribute_assignment(x, n):
    n.value = 3  # ERROR 5: only names can be assigned: tiles and tuples are values


@kernel
def starred_target(x, n):
    a, *b = (1, 2, 3)  # ERROR 8: the kernel language has no starred targets: slice the tuple


@kernel
def keyword_dictionary(x, n):
    y = tl.load(x, **n)  # ERROR 20: the kernel language has no **kwargs: name each argument


@kernel
def annotation_without_value(x, n):
    y: tl.int32  # ERROR 5: an annotated name needs a value here


@kernel
def variable_arguments(*args):  # ERROR 24: the kernel language has no *args and **kwargs: name each parameter, or take
    pass


@kernel
def keyword_arguments(x, **kwargs):  # ERROR 26: the kernel language has no *args and **kwargs: name each parameter, or
    pass


@kernel
def number_in_a_text(x, n):
    tl.static_print(f"{n:>3}")  # ERROR 21: an f-string shows what is known when compiling, n is i32: use


@kernel
def indented_unevenly_in_a_long_kernel(x, n):
    for i in range(n):
        if i > 3:
            with tl.zeros((4,), tl.float32) as y:  # ERROR 18: the kernel language has no with, but for classes with
                pass


@kernel
def negation_of_a_tuple(x, n):
    y = not (n, n)  # ERROR 9: the kernel language has no `not` of a tuple: compare its len() with 0
