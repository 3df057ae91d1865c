"""Targets are data: found by file name, merged with what they extend, validated, matched against a probe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefreeze import drafting, inheritance, inventory, schemas, targets
from edgefreeze.cli import main
from edgefreeze.errors import Failure
from edgefreeze.types import DeviceFacts

MINE = 'summary = "mine"\n[match]\nmachine = ["aarch64"]\nboard = ["Foo"]\n[[formats]]\nformat = "tflite"\n'
BOARDS = {
    "x86", "pi3", "pi4", "pi5", "pi-32", "jetson-nano", "jetson-orin", "jetson-thor", "generic-arm64",
}  # fmt: skip


def facts(**known: Any) -> DeviceFacts:
    usual: dict[str, Any] = {
        "machine": "aarch64",
        "python": "3.11.2",
        "python_executable": "/usr/bin/python3",
        "libc": "glibc 2.36",
        "platform": "linux-aarch64",
        "bits": 64,
    }
    return DeviceFacts(**{**usual, **known})


@pytest.mark.parametrize("name", sorted(targets.names()))
def test_every_target_that_is_shipped_says_all_that_it_must(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert target.summary
    assert len({f.format for f in target.formats}) == len(target.formats)
    assert all(f.precision and f.tolerance for f in target.formats)
    assert target.match.features
    assert target.match.python
    assert target.match.glibc
    assert target.advice.governor
    origins = targets.resolve(name).origins
    said = {
        "freeze.optimize",
        "bench.threads",
        "bench.samples",
        "limits.keep_free_mb",
        "limits.keep_releases",
    }
    assert said <= set(origins)


def test_the_boards_are_there() -> None:
    assert set(targets.names()) == BOARDS


def test_what_the_shipped_targets_expect_tells_boards_apart() -> None:
    boards = {
        "pi3": "Raspberry Pi 3 Model B Plus Rev 1.3",
        "pi4": "Raspberry Pi 4 Model B Rev 1.4",
        "pi5": "Raspberry Pi 5 Model B Rev 1.0",
        "jetson-nano": "NVIDIA Jetson Nano Developer Kit",
        "jetson-orin": "NVIDIA Jetson Orin Nano Developer Kit",
        "jetson-thor": "NVIDIA Jetson AGX Thor Developer Kit",
    }
    for name in boards:
        wanted = targets.load(name).match.board
        assert [n for n, board in boards.items() if any(text in board for text in wanted)] == [name]


def test_an_unknown_target_offers_the_nearest() -> None:
    with pytest.raises(Failure) as caught:
        targets.load("pi-4")
    assert caught.value.code == "target-unknown"
    assert "did you mean 'pi4'" in caught.value.message
    assert caught.value.next == "edgefreeze targets show pi4"


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "x86.toml").write_text(MINE)
    (tmp_path / "foo.toml").write_text(MINE)
    (tmp_path / "not a name.toml").write_text("garbage")
    known = targets.names((tmp_path,))
    assert known["x86"] == tmp_path / "x86.toml"
    assert targets.load("foo", (tmp_path,)).summary == "mine"
    assert "not a name" not in known


def test_the_architecture_must_fit_and_the_rest_should(tmp_path: Path) -> None:
    rules = 'features = ["asimd"]\npython = ">=3.9,<3.12"\nglibc = ">=2.31"\n'
    (tmp_path / "foo.toml").write_text(MINE.replace("[[formats]]", rules + "[[formats]]"))
    target = targets.load("foo", (tmp_path,))
    assert target.mismatches(facts(board="The foo board", cpu_features=("asimd", "fp"))) == (None, ())
    assert target.mismatches(facts()) == (None, ())  # what the probe cannot tell is no mismatch
    fatal, _ = target.mismatches(facts(machine="x86_64"))
    assert fatal == "architecture x86_64; target 'foo' is for aarch64"
    fatal, warnings = target.mismatches(
        facts(board="Bar", cpu_features=("fp",), python="3.13.1", libc="glibc 2.28")
    )
    assert fatal is None
    assert warnings == (
        "the board is 'Bar'; target 'foo' expects Foo",
        "the CPU has no asimd, as target 'foo' expects",
        "Python is 3.13.1; target 'foo' expects >=3.9,<3.12",
        "glibc is 2.28; target 'foo' expects >=2.31",
    )
    assert target.mismatches(facts(libc="musl 1.2.4")) == (None, ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('summary = "mine"\nformats = []\n[match]\nmachine = ["aarch64"]\n', "no [[formats]]"),
        (MINE.replace('["aarch64"]', "[]"), "match.machine is empty"),
        ('python = "python3; rm -rf /"\n' + MINE, "not a plain path"),
        (MINE + '[runtimes]\ntensorflow = "two"\n', "runtimes.tensorflow: no version rule"),
        (MINE.replace("[[formats]]", 'python = "3.9 or so"\n[[formats]]'), "match.python: no version rule"),
        (MINE + '[service]\nhealth_url = "ftp://x"\n', "service.health_url"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "foo.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        targets.load("foo", (tmp_path,))
    assert says in caught.value.message
    assert caught.value.code == "config-value"


# --- one extends another


def test_what_a_target_does_not_say_is_taken_from_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text(MINE + "[bench]\nthreads = 2\nsamples = 50\n")
    (tmp_path / "bar.toml").write_text(
        'extends = "foo"\nsummary = "bar"\n[match]\nboard = ["Bar"]\n[bench]\nthreads = 4\n'
    )
    resolved = targets.resolve("bar", (tmp_path,))
    target = resolved.target
    assert (target.name, target.summary, target.extends) == ("bar", "bar", "foo")
    assert (target.match.machine, target.match.board) == (("aarch64",), ("Bar",))
    assert (target.bench.threads, target.bench.samples) == (4, 50)
    assert [f.key for f in target.formats] == ["tflite"]
    assert resolved.origins == {
        "summary": "bar",
        "extends": "bar",
        "match.machine": "foo",
        "match.board": "bar",
        "formats": "foo",
        "bench.threads": "bar",
        "bench.samples": "foo",
    }


def test_a_list_of_tables_replaces_the_whole_list(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text(MINE + '[[formats]]\nformat = "onnx"\n')
    (tmp_path / "bar.toml").write_text('extends = "foo"\n[[formats]]\nformat = "saved_model"\n')
    resolved = targets.resolve("bar", (tmp_path,))
    assert [f.key for f in resolved.target.formats] == ["saved_model"]
    assert resolved.origins["formats"] == "bar"


def test_one_level_is_all(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "pi4"\nsummary = "mine"\n')
    with pytest.raises(Failure) as caught:
        targets.load("mine", (tmp_path,))
    assert caught.value.code == "config-value"
    assert "extends 'pi4', which extends 'generic-arm64': one level is all" in caught.value.message
    assert 'extends = "generic-arm64"' in (caught.value.expected or "")


def test_a_file_of_ones_own_may_extend_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "x86.toml").write_text('extends = "x86"\n[bench]\nthreads = 8\n')
    target = targets.load("x86", (tmp_path,))
    assert target.bench.threads == 8
    assert target.path == str(tmp_path / "x86.toml")
    assert target.formats == targets.load("x86").formats


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('extends = "pi-4"\n', "config-value", "there is no such target; did you mean 'pi4'?"),
        ('extends = "foo"\n', "config-value", "extends 'foo', and there is no such target"),  # itself
        ('extends = "../x86"\n', "config-value", "cannot be a target's name"),
        ("extends = 3\n", "config-value", "line 1: 'extends': Expected `str"),
        ('extends = "x86"\n\n[bench]\nthraeds = 2\n', "config-key", "line 4: unknown key 'thraeds'"),
        ('extends = "x86"\n\n[bench]\nthreads = 0\n', "config-value", "line 4: 'threads'"),
    ],
)
def test_mistakes_in_one_that_extends(tmp_path: Path, text: str, code: str, says: str) -> None:
    (tmp_path / "foo.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        targets.load("foo", (tmp_path,))
    assert caught.value.code == code
    assert says in caught.value.message


def test_a_table_in_place_of_a_value_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("a = 1\n[b]\nc = 1\n[d]\ne = 1\n")
    merged = inheritance.merge(
        tmp_path / "own.toml", {"extends": "base", "a": {"x": 2}, "b": 3, "d": {"f": 4}}, (tmp_path,)
    )
    assert merged.data == {"extends": "base", "a": {"x": 2}, "b": 3, "d": {"e": 1, "f": 4}}
    assert merged.origins == {"extends": "own", "a.x": "own", "b": "own", "d.e": "base", "d.f": "own"}


# --- a device's own values


def test_a_devices_entry_overrides_its_target(tmp_path: Path) -> None:
    target = targets.load("pi4")
    changed = targets.overridden(target, {"bench": {"threads": 4}, "limits": {"memory_mb": 900}}, "cam1")
    assert (changed.bench.threads, changed.bench.samples) == (4, target.bench.samples)
    assert changed.limits.memory_mb == 900
    assert (changed.name, changed.path, changed.formats) == (target.name, target.path, target.formats)
    for table, code in (
        ({"bench": {"thraeds": 1}}, "config-key"),
        ({"limits": {"memory_mb": 0}}, "config-value"),
    ):
        with pytest.raises(Failure) as caught:
            targets.overridden(target, table, "edgefreeze.toml: devices.cam1")
        assert caught.value.code == code
        assert caught.value.message.startswith("edgefreeze.toml: devices.cam1, line 1:")


# --- a target from a probe


def test_a_draft_is_a_valid_target_of_the_board_it_was_made_from(tmp_path: Path) -> None:
    known = [targets.load(name) for name in targets.names()]
    seen = facts(
        board="Radxa ROCK 5B Rev 1.2",
        cpu_model='Cortex-A76 "big"',
        cpu_features=("fp", "asimd"),
        os="Debian GNU/Linux 12\n(bookworm)",
        ram_bytes=8 * 10**9,
    )
    device = inventory.Device(name="rock", target="x", transport="ssh", host="rock", python=None, root=None)
    made = drafting.draft(seen, known, device)
    assert made.extends == "generic-arm64"
    (tmp_path / "rock.toml").write_text(made.text)
    target = targets.load("rock", (tmp_path,))
    assert target.match.board == ("Radxa ROCK 5B",)
    assert (target.match.python, target.match.glibc) == (">=3.11", ">=2.36")
    assert target.limits.memory_mb == 4000
    assert target.mismatches(seen) == (None, ())
    assert target.formats == targets.load("generic-arm64").formats
    with pytest.raises(Failure) as caught:
        drafting.draft(facts(machine="riscv64"), known, device)
    assert caught.value.code == "device-mismatch"


# --- for editors


def test_the_schema_takes_the_shipped_targets_and_says_what_a_whole_one_needs() -> None:
    schema = schemas.target()
    assert {"required": ["extends"]} in schema["anyOf"]
    assert {"required": ["summary", "match", "formats"]} in schema["anyOf"]
    assert set(schema["properties"]) == set(targets.TargetFile.__struct_fields__)
    assert schema["additionalProperties"] is False
    references = set(json.dumps(schema).split("#/$defs/")[1:])
    assert {text.partition('"')[0] for text in references} <= set(schema["$defs"])
    assert schemas.config()["properties"]["devices"]["additionalProperties"] == {
        "$ref": "#/$defs/DeviceEntry"
    }


# --- the commands


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main.run(list(arguments))
    return status, capsys.readouterr().out


@pytest.mark.process
def test_new_check_and_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "edgefreeze.toml").write_text('targets = "boards"\n')
    (tmp_path / "boards").mkdir()
    status, out = run(capsys, "targets", "new", "here", "--from-device", "local", "--json")
    assert status == 0, out
    assert json.loads(out)["extends"] == "x86"
    assert json.loads(out)["path"] == str(tmp_path / "boards" / "here.toml")
    assert run(capsys, "targets", "new", "here", "--from-device", "local")[0] == 3  # it is there
    assert run(capsys, "targets", "check", "boards/here.toml") == (0, "boards/here.toml: valid\n")
    shown = run(capsys, "targets", "show", "here")[1]
    assert "# x86" in shown
    assert "# default" in shown
    document = json.loads(run(capsys, "targets", "show", "here", "--json")[1])
    assert document["origins"]["match.machine"] == "here"
    assert document["origins"]["formats"] == "x86"
    (tmp_path / "boards" / "bad.toml").write_text('extends = "x86"\n\n[bench]\nthraeds = 2\n')
    status, out = run(capsys, "targets", "check", "--json")
    assert status == 3
    assert "bad.toml, line 4: unknown key 'thraeds'" in json.loads(out)["error"]["message"]


def test_the_schema_is_printed_as_it_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    published = Path(__file__).parents[1] / "docs" / "schemas" / "target.schema.json"
    assert json.loads(run(capsys, "targets", "schema")[1]) == json.loads(published.read_text())


@pytest.mark.parametrize(
    ("rule", "package", "versions"),
    [
        ("==2.14.*", None, "==2.14.*"),
        ("tflite-runtime==2.14.*", "tflite-runtime", "==2.14.*"),
        (" ai_edge.litert >=2,<3", "ai_edge.litert", ">=2,<3"),
        ("two", None, "two"),
        (None, None, ""),
        ("", None, ""),
    ],
)
def test_a_rule_may_name_a_package(rule: str | None, package: str | None, versions: str) -> None:
    assert targets.named_rule(rule) == (package, versions)


def test_what_a_target_says_of_formats_limits_and_threads(tmp_path: Path) -> None:
    one = targets.Format.of("tflite:int8")
    assert (one.resolved, one.key, one.allowed) == ("int8", "tflite:int8", one.facts.tolerance)
    (tmp_path / "foo.toml").write_text(
        MINE + "tolerance = 0\n[limits]\nmemory_mb = 300\nkeep_free_mb = 0\n[bench]\ncpus = [0, 4095]\n"
    )
    target = targets.load("foo", (tmp_path,))
    (bare,) = target.formats
    assert (bare.precision, bare.resolved, bare.key, bare.allowed) == (None, "fp32", "tflite", 0.0)
    assert target.limits.memory_bytes == 300 * 10**6
    assert targets.Limits().memory_bytes is None


@pytest.mark.parametrize(
    ("table", "key", "good", "bad"),
    [
        ("bench", "threads", ["1"], ["0"]),
        ("bench", "samples", ["1"], ["0"]),
        ("bench", "seconds", ["0.1", "3600"], ["0", "3601"]),
        ("bench", "cpus", ["[0, 4095]", "[]"], ["[-1]", "[4096]"]),
        ("limits", "keep_free_mb", ["0"], ["-1"]),
        ("limits", "keep_releases", ["1"], ["0"]),
        ("limits", "memory_mb", ["1"], ["0"]),
        ("freeze", "batch", ["1"], ["0"]),
        ("advice", "max_temperature_c", ["0.1", "150"], ["0", "151"]),
    ],
)
def test_numbers_of_a_target_have_bounds(
    tmp_path: Path, table: str, key: str, good: list[str], bad: list[str]
) -> None:
    for value in [*good, *bad]:
        (tmp_path / "foo.toml").write_text(f"{MINE}[{table}]\n{key} = {value}\n")
        if value in good:
            assert targets.load("foo", (tmp_path,))
            continue
        with pytest.raises(Failure) as caught:
            targets.load("foo", (tmp_path,))
        assert caught.value.code == "config-value"


@pytest.mark.parametrize(("opset", "taken"), [(6, False), (7, True), (18, True), (19, False)])
def test_an_opset_is_one_that_can_be_written(tmp_path: Path, opset: int, taken: bool) -> None:
    (tmp_path / "foo.toml").write_text(MINE.replace('"tflite"', f'"onnx"\nopset = {opset}'))
    if taken:
        assert targets.load("foo", (tmp_path,)).formats[0].opset == opset
    else:
        with pytest.raises(Failure):
            targets.load("foo", (tmp_path,))


def test_what_nothing_is_said_of_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text(MINE)
    target = targets.load("foo", (tmp_path,))
    assert (target.transport, target.gpu, target.python, target.service) == ("ssh", False, None, None)
    assert (target.freeze.optimize, target.freeze.lower_control_flow, target.freeze.batch) == (
        "none",
        False,
        None,
    )
    assert (target.bench.threads, target.bench.samples, target.bench.seconds, target.bench.cpus) == (
        1,
        200,
        20.0,
        (),
    )
    assert (target.limits.keep_free_mb, target.limits.keep_releases) == (64, 3)
    assert target.advice.max_temperature_c == 75.0


@pytest.mark.parametrize(
    "table", ["match", "freeze", "bench", "limits", "advice", "emulate", "service", "formats", "runtimes"]
)
def test_a_misspelt_key_is_refused_in_every_table(tmp_path: Path, table: str) -> None:
    line = 'nonsense = "x"\n'
    text = {
        "match": MINE.replace("[match]\n", f"[match]\n{line}"),
        "formats": MINE + line,
    }.get(table, f"{MINE}[{table}]\n{line}")
    (tmp_path / "foo.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        targets.load("foo", (tmp_path,))
    assert caught.value.code in ("config-key", "config-value")
    assert "nonsense" in caught.value.message


def test_only_a_runtimes_rule_may_name_a_package(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text(MINE + '[runtimes]\nlitert = "tflite-runtime==2.14.*"\n')
    assert targets.load("foo", (tmp_path,)).runtimes["litert"] == "tflite-runtime==2.14.*"
    (tmp_path / "foo.toml").write_text(MINE.replace("[[formats]]", 'python = "cpython>=3.9"\n[[formats]]'))
    with pytest.raises(Failure, match=r"match\.python: no version rule"):
        targets.load("foo", (tmp_path,))
