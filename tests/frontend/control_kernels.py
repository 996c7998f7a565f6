"""Control flow that plain Python can run too: functions of two integers. The kernel and Python must agree."""
from __future__ import annotations

from rtriton.source import KernelFunction as kernel


@kernel
def break_in_for(n, k):
    total = 0
    for i in range(n):
        if i == k:
            break
        total += i
    return total


@kernel
def continue_in_for(n, k):
    total = 0
    for i in range(n):
        if i == k:
            continue
        if i > k + 3:
            total += 100
            continue
        total += i
    return total


@kernel
def break_and_continue(n, k):
    total = 0
    seen = 0
    for i in range(1, 20, 2):
        seen += 1
        if i < k:
            continue
        total += i
        if total > n * 3:
            total = -total
            break
        total += 1
    return total * 1000 + seen


@kernel
def break_in_while(n, k):
    turns = 0
    while n > 0:
        n -= 1
        if n == k:
            break
        turns += n
    return turns * 100 + n


@kernel
def while_true(n, k):
    total = 0
    while True:
        total += k + 1
        if total > n:
            break
    return total


@kernel
def break_inner_loop_only(n, k):
    total = 0
    for i in range(n):
        for j in range(10):
            if j > k:
                break
            total += i * j
        total += 1
    return total


@kernel
def continue_in_nested_if(n, k):
    total = 0
    for i in range(n):
        if i > 2:
            if i > k:
                total += 7
                continue
            total += 1
        else:
            total += 2
        total += 10
    return total


@kernel
def return_in_loop(n, k):
    for i in range(n):
        if i * i > k:
            return i
    return -1


@kernel
def return_in_nested_loops(n, k):
    count = 0
    for i in range(n):
        for j in range(i):
            count += 1
            if i * j == k:
                return count
            if j > 4:
                break
        count += 10
    return -count


@kernel
def return_in_while(n, k):
    while n < 40:
        n += 3
        if n > k + 20:
            return n
        if n == k:
            return -n
    return 1000 + n


@kernel
def return_in_part_of_an_if(n, k):
    total = n
    if n > 5:
        total += 1
        if k > 5:
            return total
        total += 2
    else:
        total += 3
    return total * 10


@kernel
def return_in_every_branch(n, k):
    if n > k:
        return n - k
    elif n == k:
        return 1000
    else:
        return k - n


@kernel
def many_early_returns(n, k):
    if n == 0:
        return 1
    if n == 1:
        return 2
    total = n
    if k > 3:
        if n > 7:
            return 3
        total += 1
    elif k == 2:
        return 4
    total += k
    if total > 12:
        return total
    return -total


@kernel
def return_past_a_local(n, k):
    total = 0
    for i in range(n):
        if i > k:
            half = i + k
        else:
            if i == 3:
                continue
            half = i
        if half > 12:
            return half
        total += half
    return total


@kernel
def downwards(n, k):
    total = 0
    for i in range(n, -k, -3):
        total = total * 2 + i
        if total > 500:
            break
    return total


@kernel
def empty_ranges(n, k):
    total = 5
    for i in range(n, n):
        total += i
    for i in range(k, -1):
        total += i
    return total


@kernel
def index_after_the_loop(n, k):
    i = -1
    for i in range(k):
        if i > n:
            break
    return i


@kernel
def index_changed_in_the_loop(n, k):
    total = 0
    for i in range(n):
        i = i * 2 + k
        total += i
    return total


@kernel
def unrolled_with_break(n, k):
    total = 0
    for i in (3, 1, 4, 1, 5, 9, 2, 6):
        if total > n:
            break
        if i == 4:
            continue
        if i > k + 4:
            return -total
        total += i
    return total


@kernel
def unrolled_with_known_break(n, k):
    total = n
    for i in (1, 2, 3, 4):
        if i == 3:
            break
        total += i
    return total


@kernel
def chained_comparisons(n, k):
    total = 0
    if 2 < n <= 8 != k:
        total += 1
    if 0 <= k < n < 100:
        total += 2
    return total


@kernel
def if_expressions(n, k):
    small = n if n < k else k
    return (small + 1 if small > 3 else small - 1 if n > 3 else small) * 2


@kernel
def assignments(n, k):
    a = b = n + 1
    (c, (d, e)), f = (k, (a, b)), n
    [g, h] = [c, f]
    a += 2; b -= 1; c *= 3; d <<= 1; e |= 8; f &= 3; g ^= 5  # noqa: E702
    a, b = b, a
    h: int = h + \
        1
    return a + b * 2 + c * 3 + d * 5 + e * 7 + f * 11 + g * 13 + h * 17


@kernel
def tuples_carried(n, k):
    pair = (n, (k, 1))
    for i in range(k):
        if i == 4:
            break
        pair = (pair[0] + 1, (pair[1][1], pair[1][0] + i))
    return pair[0] * 100 + pair[1][0] * 10 + pair[1][1]


@kernel
def membership(n, k):
    total = n
    for i in (1, 2, 3, 4, 5):
        if i in (2, 4):
            total += i
        elif i not in (1, 3):
            total += 100
    return total


@kernel
def comprehension(n, k):
    squares = [i * n for i in (1, 2, 3) if i != 2]
    a, b = squares
    return a + b * k


@kernel
def docstrings_and_oddities(n, k):
    """A docstring
with a line at column 0."""
    # a comment
  # one indented oddly
    "a string that is a statement"
    total = (n +
  k)
    if total > 3: total += 1  # noqa: E701
    else: total -= 1  # noqa: E701

    ...  # noqa: PIE790
    pass; return total  # noqa: E702, PIE790


@kernel
def calls_that_return_early(n, k):
    total = 0
    for i in range(k):
        found = _first_multiple(i, n)
        if found < 0:
            continue
        total += found
        if total > 50:
            break
    return total


@kernel
def _first_multiple(i, n):
    for m in range(1, 5):
        if m * i > n:
            return m * i
    return -1
