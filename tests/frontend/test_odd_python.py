"""Python that is valid and unusual in a kernel: it is compiled, or refused by an error that names its line."""
from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import rtriton.language as tl
from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction
from rtriton.types import Pointer, float32, int32

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")     # of Python's own, about such code

COMPILED = r'''
y = 1_000 + 0xFF + 0b11 + 0o17
y = "a" "b" f"{1:>{4}}" + r"\d" + f"{3!r}"; z = f"{1.5:.2f} {tl.float32} {'nested'} {{}}"
y = (n  # a comment
  + 1) + \
  2
é = n; µ = é
if n: pass
elif n > 2: pass
else: pass
y: "tl.int32" = n
(y) = n; [y] = (n,); y, = (n,)
for i, j in ((1, 2), (3, 4)): pass
for i in 1, 2, 3: pass
y = [*range(3)][1:] + (4,)
y = (1, 2, 3)[*(1,)]
"""a text
   over lines
"""; y = ...
return *(1, 2), n; undefined()
if n > 3: return
	# a comment after a tab
y = n if n else 3 if n > 2 else 4
y = not -~+n
y = n is None or n is not None
tl.static_print("%d" % 3, "{}".format(4), sep="")
'''
REFUSED = r'''
y = yield
y = lambda: (yield)
y = [lambda: i for i in (1, 2)]
async def g(): pass
for i in range(3): import math
if n: raise
with (open("x") as f): pass
with open("x") as f, open("y"): pass
x[0], y = 1, 2
x.y: int = 3
y = {**{}}
y = (yield from (1, 2))
y = n if n else (z := 3)
print(*(i for i in (1, 2)))
def g(): return n
y = 2 ** 10 ** 10 if n else {}
y = "%d" % n + undefined
y = f"{n}"
y = f"{undefined!r:>{n}}"
y = x @ x; y @= x
assert undefined, f"{n}"
y = super().foo
y = tl.load(x)(3)
'''


def compiled(text: str, path: Path) -> None:
    path.write_text(text)
    names: dict[str, Any] = {"tl": tl}
    exec(compile(text, str(path), "exec"), names)
    lower(KernelFunction(names["f"]), {"x": Pointer(float32), "n": int32}, {})


def bodies(text: str) -> list[str]:
    """The statements, those that go on over several lines together."""
    found: list[str] = []
    for line in text.strip("\n").split("\n"):
        goes_on = found and (line[0] in " \t\"" or line.startswith(("elif", "else")) and found[-1].startswith("if"))
        if goes_on and not (line.startswith('"""a')):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def function(body: str) -> str:
    return "def f(x, n):\n" + "\n".join(f"    {line}" for line in body.split("\n")) + "\n"


@pytest.mark.parametrize("body", bodies(COMPILED))
def test_odd_python_compiles(body: str, tmp_path: Path) -> None:
    compiled(function(body), tmp_path / "kernel.py")


@pytest.mark.parametrize("body", bodies(REFUSED))
def test_other_python_is_refused_where_it_stands(body: str, tmp_path: Path) -> None:
    with pytest.raises(CompilationError) as caught:
        compiled(function(body), tmp_path / "kernel.py")
    assert caught.value.span.line == 2 and caught.value.span.file == str(tmp_path / "kernel.py")
    assert "internal error" not in caught.value.message and str(tmp_path) in str(caught.value)


def test_mutated_kernels_are_compiled_or_refused_with_a_place(tmp_path: Path) -> None:
    """Tokens of kernels exchanged at random: whatever Python still takes is compiled or refused by a located error."""
    rng = random.Random(5)
    pieces = [line for text in (COMPILED, REFUSED) for body in bodies(text) for line in body.split("\n")]
    words = "n x ( ) [ ] : = + in if else for not lambda * , tl.zeros y 1.5 None @ ** yield 'a' f'{n}' ... - return"
    words = [*words.split(" "), "\n", "while True:"]
    tried = 0
    for k in range(1500):
        parts = rng.choice(pieces).split(" ")
        for _ in range(rng.randint(1, 3)):
            parts[rng.randrange(len(parts))] = rng.choice(words)
        text = function(" ".join(parts))
        try:
            compile(text, "kernel", "exec")
        except SyntaxError:
            continue
        tried += 1
        try:
            compiled(text, tmp_path / f"kernel{k}.py")
        except CompilationError as error:
            assert error.span.line >= 1 and "internal error" not in error.message, text
    assert tried > 100


ELSEWHERE = (
    'raise ValueError("n is odd")', "try:\n    y = 1\nexcept ValueError:\n    raise", "import math; y = 1",
    "y = (lambda a: a)(1)  # a comment", '@tl.where\ndef g(a):\n    """A text\nover lines"""\n    return a',
    "if (y := n) > 1:\n    y = 2", "for i in range(n):\n    del i",
)


@pytest.mark.parametrize("body", ELSEWHERE)
def test_statements_that_a_kernel_cannot_have_are_refused_where_they_are_reached(body: str, tmp_path: Path) -> None:
    inside = "\n".join(f"    {line}" for line in body.split("\n"))
    compiled(function(f"if False:\n{inside}\nreturn"), tmp_path / "kernel.py")
    with pytest.raises(CompilationError, match="missing") as caught:     # the statements after it keep their places
        compiled(function(f"if False:\n{inside}\nmissing"), tmp_path / "kernel.py")
    assert caught.value.span.line == 4 + body.count("\n")
    with pytest.raises(UnsupportedLanguageConstruct, match="the kernel language has no") as refused:
        compiled(function(f"if True:\n{inside}"), tmp_path / "kernel.py")
    assert refused.value.span.line == (4 if body[0] in "@f" else 3)
