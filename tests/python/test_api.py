"""The functions of edgefreeze: what they take and refuse, and how their results show themselves. No TensorFlow."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import pytest

import edgefreeze
from edgefreeze import building, conversion
from edgefreeze.benching import Measurement
from edgefreeze.benchmark import gates
from edgefreeze.benchmark.plan import Effort
from edgefreeze.difference.verifying import Comparison, OutputComparison
from edgefreeze.errors import Failure
from edgefreeze.freezing import Frozen
from edgefreeze.progress import Told
from edgefreeze.python import arguments
from edgefreeze.shown import LOOKS, Shown
from edgefreeze.types import Tensor
from tests.benchmark.made import made

EVIL = "<script>alert(1)</script>\x1b[31m&"
COMMANDS = ("freeze", "build", "verify", "inspect", "deploy", "bench", "run", "status", "history", "rollback")
RENAMED = {
    "host": "device", "targets_folder": "targets", "no_bench": "bench", "no_cache": "cache", "no_verify": "verify",
    "required": "require", "b": "against", "format_name": "format", "batches": "batch",
}  # fmt: skip
IN_INSPECT = {"wanted": "target"}
IN_RUN = {"source": "inputs", "result": None}
NOT_IN_PYTHON = {"as_json", "quiet", "debug", "netron", "tensorboard", "dot"}
"""Words for a terminal; and what inspect writes or opens, which other tools do from a path."""


def parameters(function: Any) -> set[str]:
    """The names that a function takes, those of its TypedDict among them."""
    found = inspect.signature(function).parameters
    names = {name for name, p in found.items() if p.kind is not p.VAR_KEYWORD}
    for p in found.values():
        if p.kind is p.VAR_KEYWORD:
            kind = re.fullmatch(r"Unpack\[(\w+)\]", p.annotation)
            assert kind is not None
            names |= set(getattr(arguments, kind[1]).__annotations__)
    return names


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_takes_what_its_command_takes(name: str) -> None:
    command: click.Command = importlib.import_module(f"edgefreeze.cli.{name}").command
    special = {"inspect": IN_INSPECT, "run": IN_RUN}.get(name, {})
    wanted = {special.get(p.name, RENAMED.get(p.name, p.name)) for p in command.params if p.name}
    lacking = wanted - {None} - NOT_IN_PYTHON - parameters(getattr(edgefreeze, name))
    assert lacking == set()


def test_every_public_name_is_there_and_listed() -> None:
    for name in edgefreeze.__all__:
        assert getattr(edgefreeze, name).__module__.startswith("edgefreeze.")
    assert set(edgefreeze.__all__) <= set(dir(edgefreeze))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgefreeze.nonsense  # noqa: B018
    init = Path(edgefreeze.__file__).read_text()
    told = re.findall(r"^    from \S+ import (.+)$", init, re.MULTILINE)
    assert {name.strip() for names in told for name in names.split(",")} == set(edgefreeze.__all__)


@pytest.mark.process
def test_importing_costs_nothing() -> None:
    heavy = "[m for m in ('tensorflow', 'numpy', 'click', 'msgspec', 'rich', 'paramiko') if m in sys.modules]"
    code = f"import sys, edgefreeze; dir(edgefreeze); assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what they refuse


@pytest.mark.parametrize("function", [edgefreeze.build, edgefreeze.deploy, edgefreeze.bench])
def test_an_object_is_refused_with_the_way_out(function: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a model's path, not a set\. Save it first: model\.export"):
        function(set())


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample'; did you mean 'samples'"):
        edgefreeze.build("m", sample="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'threads'"):
        edgefreeze.build("m", threads=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (conversion.Options, {"batch": 0}, "batch"),
        (conversion.Options, {"optimize": "much"}, "optimize"),
        (conversion.Options, {"normalise": "0..2"}, "normalise"),
        (conversion.Options, {"tolerances": {"y": 1.5}}, "tolerance of y"),
        (building.Wish, {"max_accuracy_drop": -1.0}, "max_accuracy_drop"),
        (Effort, {"threads": (0,)}, "threads"),
        (Effort, {"cpus": (4096,)}, "cpus"),
        (Effort, {"rate_hz": 0.0}, "rate_hz"),
        (Effort, {"min_samples": 0}, "min_samples"),
        (Effort, {"cold_starts": 101}, "cold_starts"),
        (Effort, {"min_seconds": 2.0, "max_seconds": 1.0}, "--max-seconds"),
    ],
)
def test_values_out_of_range(kind: Any, values: dict[str, Any], named: str) -> None:
    with pytest.raises(Failure, match=named) as caught:
        kind(**values)
    assert caught.value.code == "usage"


@pytest.mark.process
def test_failures_are_raised_and_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    codes = []
    for call in (
        lambda: edgefreeze.build(),
        lambda: edgefreeze.build("nowhere", target="x86"),
        lambda: edgefreeze.build("nowhere", target="x87"),
        lambda: edgefreeze.build("nowhere", formats="tflight"),
        lambda: edgefreeze.build("nowhere", config=tmp_path / "none"),
        lambda: edgefreeze.deploy("nowhere", require="p95<40m"),
        lambda: edgefreeze.deploy("nowhere", require="p95<40ms", bench=False),
        lambda: edgefreeze.deploy("nowhere", html="x.html", bench=False),
        lambda: edgefreeze.deploy("nowhere", target="pi4"),
        lambda: edgefreeze.verify(against="nowhere"),
        lambda: edgefreeze.verify("a", against="nowhere", target="pi4"),
        lambda: edgefreeze.verify("a", against="b", tolerance=2),
        lambda: edgefreeze.verify("a", against="b", samples={"x": [object()]}),
        lambda: edgefreeze.inspect("nowhere"),
        lambda: edgefreeze.run({"x": [1.0]}),
        lambda: edgefreeze.freeze("nowhere", batch=0),
    ):
        with pytest.raises(Failure) as caught:
            call()
        codes.append(caught.value.code)
    assert codes == [
        "model-missing", "model-missing", "target-unknown", "format-unknown", "config-value", "gate-syntax",
        "usage", "usage", "device-unknown", "usage", "usage", "usage", "samples-bad", "model-missing",
        "no-app", "usage",
    ]  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_edgefreeze_toml_counts_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgefreeze.toml").write_text('target = "pi5"\nmodel = "gone"\n')
    monkeypatch.chdir(tmp_path)
    assert arguments.where(None, "cam1", None, ".").target.name == "pi5"
    assert arguments.where("pi4", "cam1", None, ".").target.name == "pi4"
    assert arguments.where(None, "cam1", None, None).target.name == "x86"
    with pytest.raises(Failure, match=r"There is no model at .*gone"):
        edgefreeze.build()
    with pytest.raises(Failure, match="no model was named"):
        edgefreeze.build(config=None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert arguments.where(None, "cam1", None, "..").target.name == "pi5"


def test_data_may_be_arrays(tmp_path: Path) -> None:
    lists = {"x": [[1.5, 2.5]], "n": [1], "d": np.ones(2)}
    asked = {
        "samples": lists,
        "evaluation": "e.npz",
        "tags": "serve",
        "threads": 2,
        "batch": 4,
        "signature": None,
    }
    with arguments.given("bench", arguments.BenchOptions, asked) as given:
        assert given.options.samples is not None
        with np.load(given.options.samples) as stored:
            kinds = {name: stored[name].dtype.name for name in stored.files}
        assert given.wish.evaluation == Path("e.npz")
        assert (given.options.tags, given.options.batch, given.options.signature) == (("serve",), 4, None)
        assert (given.effort.threads, given.effort.batch) == ((2,), None)
    assert kinds == {"x": "float32", "n": "int64", "d": "float64"}
    assert not given.options.samples.exists()


# --- progress


def test_progress_by_callback(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[edgefreeze.Event] = []
    told = Told(events.append)
    told.note("early")
    told.step("send", "sending 3 B", 3)
    told.advance(1)
    told.advance(2)
    told.step("verify", "hashing")
    assert [(e.kind, e.step, e.text, e.done, e.total) for e in events] == [
        ("note", "", "early", 0, None),
        ("step", "send", "sending 3 B", 0, 3),
        ("advance", "send", "sending 3 B", 1, 3),
        ("advance", "send", "sending 3 B", 3, 3),
        ("step", "verify", "hashing", 0, None),
    ]
    for event in events:
        edgefreeze.print_progress(replace(event, text=event.text + "\x1b[31m"))
    assert capsys.readouterr() == ("", "  note: early\n  sending 3 B\n  hashing\n")


# --- how results show themselves


FROZEN = Frozen(
    status="frozen", path=EVIL, method="grappler", init_ops=(), states=(), parity=None, passes=(), golden=EVIL,
    inputs=(Tensor(name=EVIL, tensor="x:0", dtype="float32", shape=(None, 4)),), outputs=(), seconds=1.0,
    peak_bytes=1,
)  # fmt: skip
COMPARED = Comparison(
    equal=False, a=EVIL, b="saved_model", device="cam1", inputs="4 drawn", cases=4, warnings=(EVIL,),
    outputs=(
        OutputComparison(
            name=EVIL, other="y", equal=False, max_abs=0.1, max_rel=0.2, cosine=0.9, top1=0.5, sqnr_db=7.0,
            tolerance=1e-5, worst=None, reason="0.2 > 1e-05",
        ),
    ),
)  # fmt: skip
DUEL = replace(made(saved_model=4.0, tflite=1.0), device=EVIL)
MEASURED = Measurement(
    result=DUEL, runs="tflite", gates=gates.judge([gates.parse("p95<1ms")], "tflite", DUEL)
)


@pytest.mark.parametrize("result", [FROZEN, COMPARED, DUEL, MEASURED], ids=lambda r: type(r).__name__)
def test_a_result_shows_itself(result: Any) -> None:
    html = result._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;" in html
    opened = re.findall(r"<(\w+)", html)
    assert sorted(opened) == sorted(re.findall(r"</(\w+)", html))
    assert set(opened) == {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search(r"color|href|src|http", html)
    assert repr(result) == f"<{type(result).__name__} {result}>"
    assert "\n" not in str(result)
    assert "\x1b" not in str(result)
    json.dumps(result.to_dict())


def test_every_result_has_its_look() -> None:
    assert {kind.__name__ for kind in Shown.__subclasses__()} == {kind.__name__ for kind in LOOKS}


def test_to_dict_is_the_json_document() -> None:
    assert COMPARED.to_dict() == msgspec.to_builtins(COMPARED)
    assert MEASURED.to_dict()["gates"][0]["gate"] == "p95<1ms"
    assert MEASURED.to_dict()["contestants"] == msgspec.to_builtins(DUEL.contestants)


def test_figures_stand_in_the_tables() -> None:
    assert "0.2 &gt; 1e-05" in COMPARED._repr_html_()
    assert "saved_model 4." in str(DUEL)
    assert "p95&lt;1ms" in MEASURED._repr_html_()
    assert str(FROZEN).endswith(": frozen, nothing was compared")
