"""Where RTRITON_TEST_BACKENDS names a GPU, these tests' launches go there through copies of their arrays."""

import pytest

from tests.kernels.gpu import EXECUTIONS, launch_on_copies


@pytest.fixture(autouse=True)
def launches_on_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    if "cuda" in EXECUTIONS:
        launch_on_copies(monkeypatch)
