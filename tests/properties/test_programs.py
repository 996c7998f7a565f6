"""Random programs mean the same to the interpreter, the CPU backend and the emulator."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, note, settings

from rtriton.language import OPS
from tests.properties.conftest import EXAMPLES
from tests.properties.executions import check
from tests.properties.programs import ELSEWHERE, NAMES, TEMPLATES, UNNAMED, Program, one_op, programs
from tests.properties.tiles import tile_programs


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_random_programs_agree_between_the_executions(program: Program) -> None:
    note(program.source)
    check(program)


@settings(max_examples=EXAMPLES // 5, deadline=None, derandomize=EXAMPLES == 100, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(tile_programs())
def test_random_programs_over_tiles_agree_between_the_executions(program: Program) -> None:
    note(program.source)
    check(program)


def test_every_elementwise_row_can_be_drawn() -> None:
    rows = {kind for kind, row in OPS.items() if row.elementwise}
    assert rows - set(TEMPLATES) == ELSEWHERE | UNNAMED


@pytest.mark.parametrize("kind", TEMPLATES)
def test_each_row_agrees_for_every_type_that_it_takes(kind: str) -> None:
    program = one_op(kind, NAMES)
    assert program.outputs
    check(program)
