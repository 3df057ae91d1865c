"""Whatever stands in a TOML file that a person wrote: it is taken, or refused with a Failure that names the file and
the key. Nothing else is ever raised."""

from __future__ import annotations

import json
import math
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefreeze import devices, inheritance, inventory, targets
from edgefreeze.errors import Failure

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
SHIPPED = {file.stem: file.read_text(encoding="utf-8") for file in sorted(targets.built_in().glob("*.toml"))}
CONFIG = """\
model = "model/"   # the model
app = "doorbell"
target = "pi4"
samples = "typical.npz"
targets = "boards"
wheels = "wheels"

[signing]
key = "~/.ssh/id_ed25519.pub"

[devices.cam1]
target = "pi4"
host = "pi@192.0.2.1:2222"
python = "~/venv/bin/python"
root = "/data/edgefreeze"

[devices.cam1.bench]
threads = 2

[devices."cam.2"]
target = "x86"
transport = "local"
limits = {keep_releases = 5}
runtimes = {litert = "==2.1.*"}

[service]
restart = ["systemctl", "--user", "restart", "doorbell"]
restart_timeout_s = 20
health_url = "http://127.0.0.1:8080/health"
successes = 3
period_s = 0.5
deadline_s = 60.0
"""
CODES = {"config-syntax", "config-key", "config-value", "name-invalid"}
TOKENS = (
    "[", "]", "[[", "]]", "=", ".", ",", "{", "}", "#", '"', "'", '\"\"\"', "'''", "\\", "\n", "\r\n", "\t", "\x00", "\x1b[2J",
    "\ufeff", "é", "nan", "-inf", "1e999", "0x", "-0", "1_0", "9" * 5000, "1979-05-27T07:32:00Z", "25:61:61", "true",
    "\\u0000", "\\ud800", "\\U0010FFFF", "~nobody-at-all/x", "extends", '"extends"', "[formats]", "[[devices.a]]",
    "a.b.c=1", "[" * 3000, "{a=" * 3000, 'extends = "pi4"', 'python = "-c"', 'host = "user:secret@cam1"',
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["", "~x/y", "a\0b", ">=3", "pi4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def dump(table: dict[str, Any], prefix: str = "") -> str:
    """TOML of plain values: values first, then tables, so that a line has its header."""
    lines, below = [], []
    for key, value in table.items():
        name = prefix + string(key)
        if isinstance(value, dict):
            below.append(f"\n[{name}]\n{dump(value, name + '.')}")
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            below += [f"\n[[{name}]]\n{dump(entry, name + '.')}" for entry in value]
        else:
            lines.append(f"{string(key)} = {inline(value)}\n")
    return "".join(lines + below)


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{string(key)} = {inline(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return string(value) if isinstance(value, str) else repr(value)


def string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "".join(c if not 0xD800 <= ord(c) < 0xE000 else "?" for c in escaped)


@st.composite
def changed(draw: Any, text: str) -> str:
    """A document of the same shape with something else in one to three places."""
    document = tomllib.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            what = draw(st.sampled_from(("value", "key", "gone", "twice")))
            if what == "value":
                place[key] = draw(VALUES)
            elif what == "gone":
                del place[key]
            elif isinstance(place, list):
                place.insert(key, place[key])
            else:
                place[draw(st.text(max_size=8)) if what == "key" else f"{key}s"] = place[key]
            break
    return dump(document)


@st.composite
def torn(draw: Any, text: str) -> str:
    """A text with tokens put in, lines swapped and pieces cut out."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        match draw(st.sampled_from(("token", "cut", "lines", "again"))):
            case "token":
                text = text[:start] + draw(st.sampled_from(TOKENS)) + text[start:]
            case "cut":
                text = text[:start] + text[end:]
            case "lines":
                lines = text.splitlines(keepends=True)
                draw(st.randoms(use_true_random=False)).shuffle(lines)
                text = "".join(lines)
            case "again":
                text = text[:end] + text[start:]
    return text


def near(text: str) -> st.SearchStrategy[str]:
    return changed(text) | torn(text) | changed(text).flatmap(torn)


def keys_of(module: Any) -> set[str]:
    """What can be a key in a module's files."""
    structs = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, msgspec.Struct)]
    return {field.name for struct in structs for field in msgspec.structs.fields(struct)}


KNOWN = keys_of(targets) | keys_of(inventory)


def judged(failure: Failure, text: str, *files: Path) -> None:
    """The message says in which file, and which key or line."""
    assert failure.code in CODES
    assert any(str(file) in failure.message for file in files), failure.message
    said = failure.message
    for file in files:
        said = said.replace(str(file), "")
    if failure.code == "config-syntax":
        assert "line " in said or "end of document" in said or "cannot be read" in said or "too " in said, (
            said
        )
    elif failure.code == "config-key":
        assert failure.found is not None
        assert failure.found in said
    else:
        keys = {part for key in inheritance.leaves(tomllib.loads(text)) for part in key.split(".")} | KNOWN
        assert any(key and key in said for key in keys), said
    assert len(said) < 20_000
    if "secret" in text:
        assert "secret" not in f"{said} {failure.expected} {failure.found}" or failure.code == "config-syntax"


def read_target(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "board.toml")
        file.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            found = targets.read(file).target
        except Failure as failure:
            judged(failure, text, file)
            return
        assert found.formats
        assert all(0 <= entry.allowed <= 1 for entry in found.formats)
        assert math.isfinite(found.bench.seconds + found.advice.max_temperature_c)
        if found.service is not None:
            assert math.isfinite(found.service.deadline_s + found.service.period_s)
        assert targets.names((Path(folder),))["board"] == file


def read_config(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, inventory.FILE)
        file.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            config = inventory.load(Path(folder))
        except Failure as failure:
            judged(failure, text, file)
            return
        target = targets.load("x86", config.target_folders)
        if config.service is not None:
            assert math.isfinite(config.service.deadline_s + config.service.period_s)
        for name, entry in config.devices.items():
            assert inventory.choose(config, entry.target, "ssh", name).host
            try:
                targets.overridden(target, entry.overrides, f"{file}: devices.{name}")
            except Failure as failure:
                judged(failure, text, file)
        _listed(text, config, str(file))


def _listed(text: str, config: inventory.Config, where: str) -> None:
    """A device can be added, and taken out again."""
    try:
        after = devices.with_device(text, "cam9", "pi@cam9", "pi4", where)
        assert "cam9" in tomllib.loads(after)["devices"]
        devices.without_device(after, "cam9", where)
    except Failure as failure:
        assert failure.code in CODES | {"config-exists"}, failure


@fuzz
@given(st.sampled_from(sorted(SHIPPED)).flatmap(lambda name: near(SHIPPED[name])))
def test_whatever_stands_in_a_target_is_read_or_refused(text: str) -> None:
    read_target(text)


DEEP = "[" * 100_000, "{a=" * 100_000, "[" * 400 + "]" * 400
LONG = "9" * 5000


@fuzz
@given(near(CONFIG))
@example(CONFIG)
@example(f"model = {DEEP[0]}")
@example(f"model = {DEEP[1]}")
@example(f"model = {DEEP[2]}")
@example(f"model = {LONG}")
@example(f"[service]\nperiod_s = {LONG[:400]}\n")
@example("[service]\nperiod_s = nan\n")
@example('targets = "~nobody-at-all/boards"\n')
@example('targets = "a\\u0000b"\n')
@example('[signing]\nkey = "~nobody-at-all/key"\n')
@example('[signing]\nkey = "a\\u0000b"\n')
@example('[devices.cam1]\ntarget = "x86"\nbench = {threads = nan}\n')
@example("[devices]\ncam1 = 3\n")
@example("devices" + ".a" * 3000 + " = 1\n")
@example('[service]\nrestart = ["a", ""]\n')
@example('[devices.cam1]\ntarget = "x86"\nruntimes = {litert = 3}\n')
def test_the_users_own_file(text: str) -> None:
    read_config(text)


@fuzz
@given(st.text(max_size=200) | st.lists(st.sampled_from(TOKENS), max_size=12).map("".join))
def test_what_is_no_toml_at_all(text: str) -> None:
    read_target(text)
    read_config(text)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_the_tests_own_toml_is_toml(table: dict[str, Any]) -> None:
    tomllib.loads(dump(table))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_is_shipped_is_taken_whichever_way_it_is_written(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text(dump(tomllib.loads(SHIPPED[name])), encoding="utf-8")
    again = targets.read(file).target
    assert msgspec.structs.replace(again, path="") == msgspec.structs.replace(targets.load(name), path="")
