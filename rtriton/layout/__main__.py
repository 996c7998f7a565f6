"""`python -m rtriton.layout "mma_acc((16, 8))"` draws a layout."""
from __future__ import annotations

import sys

from rtriton.layout.core import LayoutError
from rtriton.layout.draw import draw, evaluate


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print('usage: python -m rtriton.layout "mma_acc((16, 8))"', file=sys.stderr)
        return 2
    try:
        print(draw(evaluate(arguments[0])))
    except (LayoutError, SyntaxError, TypeError, ValueError) as error:
        print(f"rtriton.layout: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
