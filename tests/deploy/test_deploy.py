"""What deploy/ has fits what there is: the container's commands, the unit, the dashboard's metrics, Prometheus' file.

No container is built here: each instruction of the Dockerfile is checked against the project, the wheel is built from
what it copies and nothing else, and its health check asks a server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from server.settings import OTHERS
from server.sources import server_variables
from tests.server.conftest import ROOT, Running, start


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    running, stop = start()
    yield running
    stop()


DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile: `COPY`, and what follows it."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in whole.splitlines() if line.strip()]


def stages() -> dict[str, list[Instruction]]:
    """The instructions of each stage, those of the stages that it begins with among them."""
    found: dict[str, list[Instruction]] = {}
    name = ""
    for it in instructions():
        if it.word == "FROM":
            parent, _, name = it.rest.split()
            found[name] = list(found.get(parent, []))
        elif name:
            found[name].append(it)
    return found


def of(stage: str, word: str) -> list[str]:
    return [it.rest for it in stages()[stage] if it.word == word]


def variables(stage: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in of(stage, "ENV") for pair in shlex.split(rest))


# ---- the container -----------------------------------------------------------------------------------


def test_there_is_a_target_for_cpus_and_one_for_gpus_and_neither_runs_as_root() -> None:
    assert [name for name in stages() if name in ("cpu", "cuda")] == ["cuda", "cpu"], "the last one is the default"
    user = re.search(r"useradd --uid (\d+) [^&]* (\w+)\s+&&", of("base", "RUN")[0])
    assert user is not None and int(user[1]) >= 1000
    for stage, extras in (("cpu", {"serve"}), ("cuda", {"serve", "cuda"})):
        assert of(stage, "USER") == [user[2]] and stages()[stage][-1].word == "USER"
        [install] = [rest for rest in of(stage, "RUN") if "pip install" in rest]
        [asked] = re.findall(r"\.whl\)\[([\w,]+)\]", install)
        assert set(asked.split(",")) == extras <= EXTRAS.keys()
        assert not [rest for rest in of(stage, "COPY") if not rest.startswith("--from=wheel")], "no model is in it"
    assert of("cuda", "ENV") != of("cpu", "ENV") and "NVIDIA_VISIBLE_DEVICES" in variables("cuda")


def test_what_the_container_runs_is_there_and_its_variables_are_read() -> None:
    command = json.loads(of("cpu", "ENTRYPOINT")[0])
    assert command[0] in PROJECT["project"]["scripts"]
    shown = subprocess.run(
        [sys.executable, "-m", "server.cli", *command[1:], "--print-config"],
        cwd=ROOT,
        env={**os.environ, **{k: v for k, v in variables("cpu").items() if k.startswith("RTRITON_")}},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0 and 'host = "0.0.0.0"' in shown.stdout and "warning" not in shown.stderr.lower()
    known = server_variables() | {f"RTRITON_{name}" for name in OTHERS}
    for stage in ("cpu", "cuda"):
        assert {name for name in variables(stage) if name.startswith("RTRITON_")} <= known
        assert variables(stage)["RTRITON_PORT"] in of(stage, "EXPOSE")
        assert variables(stage)["RTRITON_CACHE_DIR"] in of(stage, "VOLUME")


def test_the_wheel_is_built_from_what_is_copied_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling and build to make a wheel without a network")
    pytest.importorskip("build")
    source = tmp_path / "source"
    source.mkdir()
    copied = [rest.split() for rest in of("wheel", "COPY")]
    names = {name for *names, _ in copied for name in names}
    for name in names:
        path = ROOT / name
        assert path.exists(), name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= names
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in allowed if line.startswith("!")} == names, "what is copied is in the context"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith("rtriton-")


def test_the_health_check_asks_and_fails_where_nothing_answers(server: Running) -> None:
    [check] = of("cpu", "HEALTHCHECK")
    command = json.loads(check.split("CMD", 1)[1])
    assert command[0] == "python"

    def status(port: str) -> int:
        environment = {**os.environ, "RTRITON_PORT": port, "http_proxy": "http://127.0.0.1:9"}
        run = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, timeout=30)
        return run.returncode

    assert status(server.url.rsplit(":", 1)[1]) == 0
    assert status("1") != 0


def test_a_stop_waits_for_open_answers() -> None:
    from server.settings import Settings

    assert of("cpu", "STOPSIGNAL") == ["SIGTERM"]
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    told = re.search(r"--stop-timeout (\d+)", text)
    assert told is not None and int(told[1]) > Settings().drain_seconds


# ---- systemd -----------------------------------------------------------------------------------------


def test_the_unit_starts_the_server_with_options_that_there_are(tmp_path: Path) -> None:
    text = (DEPLOY / "rtriton.service").read_text(encoding="utf-8")
    unit = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    command = shlex.split(unit["ExecStart"])
    assert Path(command[0]).name in PROJECT["project"]["scripts"]
    (tmp_path / "server.toml").write_text("")
    options = [str(tmp_path / "server.toml") if word.startswith("/etc") else word for word in command[1:]]
    shown = subprocess.run(
        [sys.executable, "-m", "server.cli", *options, "--print-config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    assert environment.keys() <= server_variables() | {f"RTRITON_{name}" for name in OTHERS}
    from server.settings import Settings

    assert int(unit["TimeoutStopSec"]) > Settings().drain_seconds
    assert (unit["DynamicUser"], unit["NoNewPrivileges"], unit["ProtectSystem"]) == ("yes", "yes", "strict")
    assert unit["RestartPreventExitStatus"] == "2", "the status of mistakes in the settings"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_no_mistake_in_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "rtriton.service").read_text(encoding="utf-8")
    unit = tmp_path / "rtriton.service"
    unit.write_text(text.replace("/opt/rtriton/bin/rtriton", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "rtriton.service" not in done.stderr, done.stderr
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystme=strict"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert "ProtectSystme" in done.stderr, "it looks at what is written"


# ---- Prometheus and Grafana --------------------------------------------------------------------------


def exposed(running: Running) -> set[str]:
    """The names of all series on the page of metrics, once there has been a request."""
    assert running.chat().status_code == 200
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


def test_every_metric_of_the_dashboard_is_one_of_the_servers(server: Running) -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [it["query"]["query"] for it in board["templating"]["list"] if it["type"] == "query"]
    names = {name for query in asked for name in re.findall(r"\b(?:vllm:|rtriton_)\w+", query)}
    assert len(board["panels"]) >= 12 and len(names) >= 20
    assert names <= exposed(server)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and all(panel["targets"] and panel["description"] for panel in board["panels"])
    for label in ("outcome", "status", "route", "model_name"):
        assert re.search(rf'\b{label}="', httpx.get(f"{server.url}/metrics").text)


def test_panels_lie_beside_each_other_and_not_over_each_other() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_prometheus_is_told_a_route_that_answers(server: Running) -> None:
    yaml = pytest.importorskip("yaml")
    [job] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert httpx.get(server.url + job["metrics_path"]).status_code == 200
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:8000"]
