"""Settings: three sources with one order, every mistake said at once, one table in the docs.

python -m tests.server.test_settings        # the table of docs/server.md
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.keys import VARIABLE
from server.setting_kinds import SWITCH, TEXTS, number, whole
from server.settings import OTHERS, RULES, SECRETS, Settings, rows
from server.sources import Mistakes, read, shown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "server.md"


def mistakes(flags: dict[str, Any], environment: dict[str, str], config: Path | None = None) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        read(flags, environment, config)
    return caught.value.lines


def file(folder: Path, text: str) -> Path:
    (folder / "server.toml").write_text(text)
    return folder / "server.toml"


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    config = file(tmp_path, "port = 1\nmax_open = 2\nmax_num_seqs = 3\n")
    found = read({"port": "10"}, {"RTRITON_PORT": "20", "RTRITON_MAX_OPEN": "21"}, config)
    assert found.settings == Settings(port=10, max_open=21, max_num_seqs=3)
    assert found.origins["port"] == "--port"
    assert found.origins["max_open"] == "RTRITON_MAX_OPEN"
    assert found.origins["max_num_seqs"] == f"{config}:3: max_num_seqs"
    assert found.origins["host"] == "default"


def test_every_setting_can_come_from_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.settings.RULES", ())
    (tmp_path / "there").write_text("key")
    values = {"FILE": str(tmp_path / "there"), "TEXT": "word", "INTEGER": "7", "NUMBER": "0.5"}
    for row in rows():
        text = row.kind.metavar.split("|")[-1] if "|" in row.kind.metavar else values.get(row.kind.metavar, "true")
        plain = (
            text if row.kind.metavar in ("TEXT", "FILE") or "|" in row.kind.metavar else tomllib.loads(f"x={text}")["x"]
        )
        plain = [plain] if row.kind.flags == "many" else plain
        config = file(tmp_path, f"{row.name} = {plain!r}\n".replace("True", "true"))
        flag = plain if row.kind.flags != "one" else text
        by_file, by_variable, by_flag = read({}, {}, config), read({}, {row.variable: text}), read({row.name: flag}, {})
        assert by_file.settings == by_variable.settings == by_flag.settings, row.name
        assert by_file.origins[row.name] == f"{config}:1: {row.name}"


def test_the_variable_config_names_the_file_and_the_flag_another(tmp_path: Path) -> None:
    config = file(tmp_path, "port = 1\n")
    assert read({}, {"RTRITON_CONFIG": str(config)}).settings.port == 1
    assert read({}, {"RTRITON_CONFIG": "nowhere"}, config).settings.port == 1
    assert mistakes({}, {"RTRITON_CONFIG": "nowhere"}) == [
        "RTRITON_CONFIG: nowhere cannot be read: No such file or directory"
    ]


def test_all_mistakes_of_all_sources_are_said_at_once(tmp_path: Path) -> None:
    config = file(tmp_path, '# ours\nmax_open = "3"\nprefx_cache = true\nlog_level = "loud"\noffline = 1\n')
    assert mistakes({"port": "-1", "threads": "1.5"}, {"RTRITON_DEVICE": "tpu", "RTRITON_OFLINE": "1"}, config) == [
        "--port: wanted a whole number from 0 to 65535, got '-1'",
        "--threads: wanted a whole number from 1 to 1024, got '1.5'",
        "RTRITON_DEVICE: wanted one of auto, cpu, cuda, got 'tpu'",
        "RTRITON_OFLINE: is no setting; did you mean RTRITON_OFFLINE?",
        f"{config}:2: max_open: wanted a whole number of at least 1, below 2^31, got '3'",
        f"{config}:3: prefx_cache: is no setting; did you mean prefix_cache?",
        f"{config}:4: log_level: wanted one of debug, info, warning, error, got 'loud'",
        f"{config}:5: offline: wanted one of 1, true, yes, on, 0, false, no, off, got 1",
    ]


def test_what_a_stronger_source_overrules_is_checked_as_well(tmp_path: Path) -> None:
    assert mistakes({"port": "1"}, {"RTRITON_PORT": "x"}) == [
        "RTRITON_PORT: wanted a whole number from 0 to 65535, got 'x'"
    ]


def test_a_file_that_is_no_toml_is_said_with_its_line(tmp_path: Path) -> None:
    [line] = mistakes({}, {}, file(tmp_path, "port = 1\nport = \n"))
    assert "is not TOML" in line and "line 2" in line
    [line] = mistakes({}, {}, file(tmp_path, "port = " + 10_000 * "["))
    assert "is not TOML" in line


def test_unknown_keys_without_a_likeness_and_tables_are_mistakes(tmp_path: Path) -> None:
    config = file(tmp_path, "zzz = 1\n[server]\nport = 1\n")
    assert [line.split(": is no")[0] for line in mistakes({}, {}, config)] == [
        f"{config}:1: zzz",
        f"{config}:2: server",
    ]


def test_variables_of_the_compiler_are_left_alone_and_unknown_ones_are_a_warning() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    compiler = re.findall(r"^\| `RTRITON_(\w+)` \|", page, re.MULTILINE)
    assert set(compiler) == set(OTHERS)
    assert read({}, {f"RTRITON_{name}": "1" for name in compiler}).warnings == ()
    assert read({}, {"RTRITON_SERVICE_HOST": "10.0.0.1"}).warnings == (
        "the variable RTRITON_SERVICE_HOST is set, and nothing reads it",
    )


def test_no_variable_of_the_server_is_one_of_the_compilers() -> None:
    assert not {row.name.upper() for row in rows()} & {*OTHERS, "CONFIG", *(name.upper() for name in SECRETS)}


def test_the_port_that_kubernetes_sets_for_a_service_is_explained() -> None:
    [line] = mistakes({}, {"RTRITON_PORT": "tcp://10.96.0.7:8000"})
    assert "enableServiceLinks" in line


def test_a_secret_is_taken_from_no_file_and_shown_nowhere(tmp_path: Path) -> None:
    [line] = mistakes({}, {}, file(tmp_path, 'api_key = "sk-hidden"\n'))
    assert "is a secret" in line and "api_key_file" in line and "sk-hidden" not in line
    environment = {VARIABLE: "sk-hidden", "RTRITON_PORT": "1"}
    text = shown(read({}, environment), environment)
    assert f"{VARIABLE} is set" in text and "sk-hidden" not in text


def test_a_key_where_its_file_is_wanted_is_not_repeated() -> None:
    [line] = mistakes({"api_key_file": "sk-hidden"}, {})
    assert line.startswith("--api-key-file: wanted the path of a file") and "sk-hidden" not in line


def test_settings_that_contradict_each_other_are_said_with_where_both_come_from() -> None:
    assert mistakes({"port": "99"}, {"RTRITON_METRICS_PORT": "99"}) == [
        "--port and RTRITON_METRICS_PORT: wanted two ports, got 99 for both"
    ]
    assert mistakes({"max_batched_tokens": "8"}, {}) == [
        "--max-batched-tokens and --max-num-seqs (by default): wanted at least as many tokens as generations in one "
        "step, got 8 and 64"
    ]
    # what is wrong by itself is not judged beside others
    assert len(mistakes({"max_batched_tokens": "8", "max_num_seqs": "x"}, {})) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("kv_cache_mb", "num_gpu_blocks"), ("swap_mb", "num_cpu_blocks"), ("gpu_memory_utilization", "kv_cache_mb"),
        ("gpu_memory_utilization", "num_gpu_blocks"), ("gpu_memory_reserve_gb", "kv_cache_mb"),
        ("gpu_memory_reserve_gb", "num_gpu_blocks"),
    ],
)  # fmt: skip
def test_the_same_memory_is_sized_in_one_way_wherever_that_is_said(one: str, other: str, tmp_path: Path) -> None:
    config = file(tmp_path, f"{one} = 1\n")
    [line] = mistakes({other: "1"}, {}, config)
    assert line.startswith((f"{config}:1: {one} and --", f"--{other.replace('_', '-')} and "))
    assert read({}, {}, config).origins[one] == f"{config}:1: {one}"


def test_a_share_of_a_gpu_is_refused_with_the_cpu_and_its_default_is_not() -> None:
    both = {"gpu_memory_utilization": "0.5", "gpu_memory_reserve_gb": "1"}
    assert len(mistakes({**both, "device": "cpu"}, {})) == 2
    assert read(both, {}).settings.gpu_memory_reserve_gb == 1.0
    assert read({"device": "cpu"}, {}).settings.gpu_memory_utilization is None


def test_rules_name_settings_that_exist() -> None:
    assert {name for rule in RULES for name in rule.names} <= {row.name for row in rows()}


def test_numbers_and_switches_are_read_strictly() -> None:
    assert SWITCH.from_text("Yes") is True and SWITCH.from_text("off") is False
    assert TEXTS.from_text("a, b") == ("a", "b")
    assert number(0, 1).from_text("1") == 1.0
    for kind, text in [
        (whole(0), "1_000"), (whole(0), "٣"), (whole(0), " 1"), (whole(0), ""), (SWITCH, "2"), (number(0), "0"),
        (number(0, 1), "1.01"), (number(0), "nan"), (number(0), "inf"), (TEXTS, "a,,b"),
    ]:  # fmt: skip
        with pytest.raises(ValueError):
            kind.from_text(text)
    for kind, value in [(whole(0), True), (whole(0), 1.0), (SWITCH, "true"), (TEXTS, "a"), (number(0), False)]:
        with pytest.raises(ValueError):
            kind.from_toml(value)


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.sampled_from([row.name for row in rows()]), st.text(max_size=200)), st.text(max_size=200))
def test_whatever_texts_come_they_are_settings_or_mistakes_of_one_line_each(texts: dict[str, str], config: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = file(Path(folder), config.encode(errors="replace").decode())
            read(dict.fromkeys(texts, ""), {row.variable: texts[row.name] for row in rows() if row.name in texts}, path)
        except Mistakes as found:
            assert all(len(line) < 1000 and line.isprintable() for line in found.lines)


def test_defaults_are_values_that_could_be_given() -> None:
    for row in rows():
        if row.default is not None:
            assert row.kind.from_toml(row.default) == row.default, row.name
    assert [it.name for it in dataclasses.fields(Settings)] == [row.name for row in rows()]


def table() -> str:
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    for row in rows():
        value = "" if row.kind.flags == "switch" else f" {row.kind.metavar.replace('|', chr(92) + '|')}"
        lines.append(f"| `{row.flag}{value}` | {row.by_default} | {row.help} |")
    return "\n".join(lines)


def test_the_server_page_has_the_table_of_settings() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python -m tests.server.test_settings writes it"


if __name__ == "__main__":
    written = re.sub(
        r"\| flag \| default .*?\n(?=\n)", lambda _: table() + "\n", PAGE.read_text("utf-8"), flags=re.DOTALL
    )
    PAGE.write_text(written, "utf-8")
