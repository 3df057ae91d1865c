"""Results on the host: kept, found, read back across versions, and put together from what was cut."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from edgefreeze.benchmark import comparing, exporting, store
from edgefreeze.benchmark.result import SCHEMA
from edgefreeze.errors import Failure
from edgefreeze.report import continuous
from tests.benchmark.made import about, collected, made, plan_of


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "edgefreeze" / "results"


def test_a_result_comes_back_as_it_was(state: Path) -> None:
    result = made(saved_model=10.0, tflite=4.0)
    path = store.place(result)
    assert path == state / "doorbell" / "cam1" / "20261121T110800Z-0123456789abcdef.json"
    store.keep(result, path)
    assert store.read(path) == result
    assert store.find("0123") == result
    assert store.find("latest") == result
    assert store.find(str(path)) == result
    (kept,) = store.listed()
    assert (kept.app, kept.device, kept.contestants) == ("doorbell", "cam1", ("saved_model", "tflite"))
    assert store.listed(app="other") == []
    assert store.listed(device="cam1")


def test_devices_that_are_no_file_names(state: Path) -> None:
    assert store.place(about(device="pi@10.0.0.2:22")).parent.name == "pi_10.0.0.2_22"
    assert store.place(about(device="../../etc")).resolve().is_relative_to(state.resolve())


@pytest.mark.parametrize("run", ["/../../../evil", "0123456", "0" * 65, "ABCDEF01", "01234567\n", "", None])
def test_a_run_whose_name_is_none_has_no_place(run: str | None) -> None:
    with pytest.raises(Failure) as caught:
        store.place(about(run=run))
    assert caught.value.code == "bad-result"


def test_an_older_result_is_upgraded_and_a_newer_one_refused() -> None:
    found: dict[str, Any] = msgspec.to_builtins(made(saved_model=10.0, tflite=4.0))
    old = {
        key: found[key]
        for key in ("release", "device", "emulated", "threads", "seed", "facts", "environment")
    }
    old["schema"] = 1
    old["contestants"] = [
        {
            k: c[k]
            for k in (
                "format",
                "samples_ns",
                "p50_ms",
                "p90_ms",
                "p99_ms",
                "cold_start",
                "memory",
                "bytes",
                "failed",
            )
        }
        for c in found["contestants"]
    ]
    old["comparisons"] = [
        {k: c[k] for k in ("baseline", "candidate", "ratio", "interval", "verdict", "reason")}
        for c in found["comparisons"]
    ]
    old["threads"] = 4
    upgraded = store.decode(json.dumps(old), "old.json")
    assert upgraded.schema == SCHEMA
    assert {c.threads for c in upgraded.contestants} == {4}
    assert upgraded.contestants[0].samples_ns == made(saved_model=10.0, tflite=4.0).contestants[0].samples_ns
    with pytest.raises(Failure) as caught:
        store.decode(json.dumps({**found, "schema": SCHEMA + 1}), "new.json")
    assert caught.value.code == "bad-result"
    assert "newer edgefreeze" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"schema": "x"}', '{"schema": 0}', '{"schema": 2}']
)
def test_what_is_no_result_is_said(text: str) -> None:
    with pytest.raises(Failure) as caught:
        store.decode(text, "f.json")
    assert caught.value.code == "bad-result"


DEEP = "[" * 200_000
UNREADABLE = {
    "too deep": DEEP,
    "too deep inside": '{"schema": 2, "app": ' + "[" * 900 + "]" * 900 + "}",
    "no contestants": '{"schema": 1, "contestants": 5}',
    "contestants that are none": '{"schema": 1, "contestants": [1], "comparisons": null}',
    "an operation that takes no time": json.dumps(
        {
            **msgspec.to_builtins(made(tflite=4.0)),
            "operations": {"tflite": [{"name": "a", "type": "", "ns": "x"}]},
        }
    ),
    "no seed": json.dumps({**msgspec.to_builtins(made(tflite=4.0)), "seed": -1}),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_result_hides_no_other(state: Path, text: str) -> None:
    result = made(tflite=4.0)
    store.keep(result, store.place(result))
    bad = store.place(about(run="fedcba9876543210"))
    for path in (bad, bad.with_name("20261121T110800Z-aaaaaaaaaaaaaaaa.part")):
        path.write_text(text)
        with pytest.raises(Failure) as caught:
            store.read(path)
        assert caught.value.code == "bad-result"
    assert [kept.id for kept in store.listed()] == [result.run]


def test_documents_of_commands_are_results_too() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    found = msgspec.to_builtins(result)
    assert store.decode(json.dumps({"schema": 1, "command": "deploy", "bench": found}), "d") == result
    document = {**found, "result_schema": found["schema"], "schema": 1, "command": "bench"}
    assert store.decode(json.dumps(document), "b") == result


def test_text_of_a_result_cannot_command_a_terminal() -> None:
    found = msgspec.to_builtins(made(tflite=4.0))
    found["device"] = "cam\x1b[31m1"
    assert store.decode(json.dumps(found), "f").device == "cam1"


def test_events_that_were_streamed_are_a_result_though_the_host_was_killed(state: Path) -> None:
    plan = plan_of("saved_model", "tflite")
    known = about()
    stream = store.Stream(store.place(known), plan, known)
    collector = collected(plan, {"saved_model": 10.0, "tflite": 4.0})
    sent = collector.events[:30]
    for event in sent:
        stream.event(msgspec.to_builtins(event))
    stream._file.write(b'{"kind": "block", "contestant": 0, "bl')  # killed in the middle of a line
    stream.close()
    (kept,) = store.listed()
    assert kept.complete is False
    result = store.find(kept.id)
    samples = sum(len(e.samples_ns) for e in sent if type(e).__name__ == "Block")
    assert sum(len(c.samples) for c in result.contestants) == samples > 0


def test_a_journal_with_figures_that_are_none_is_an_error() -> None:
    plan, known = plan_of("tflite"), about()
    block = {"kind": "block", "contestant": 0, "block": 0, "samples_ns": [1]}
    head = store.head(plan, known)
    for about_, event, code in (
        ({**head, "plan": {**head["plan"], "seed": -1}}, block, "bad-result"),
        (head, {**block, "at_ns": 10**400}, "protocol"),
        (head, {**block, "rss_bytes": 10**400}, "protocol"),
    ):
        lines = ({"kind": "head", "about": about_}, event)
        with pytest.raises(Failure) as caught:
            store.recovered("\n".join(map(json.dumps, lines)).encode(), "x")
        assert caught.value.code == code


def test_a_line_of_a_journal_that_is_too_deep_is_left_out() -> None:
    head = json.dumps({"kind": "head", "about": store.head(plan_of("tflite"), about())})
    found = store.recovered(f"{head}\n{DEEP}\n".encode(), "x")
    assert found.contestants[0].samples == []


def test_a_journal_of_nonsense_is_an_error() -> None:
    for data in (b"", b"{}\n", b'{"kind": "head", "about": {"plan": 1, "about": 2}}\n', b"\x00\xff\n"):
        with pytest.raises(Failure) as caught:
            store.recovered(data, "x")
        assert caught.value.code == "bad-result"


# --- beside each other


def test_for_continuous_integration() -> None:
    found = comparing.compare(
        [made(saved_model=10.0, tflite=4.0), made(seed=2, saved_model=10.0, tflite=4.6)]
    )
    text = continuous.markdown(found)
    assert "| `tflite` | 3.988 | 4.575 | 1.15 (" in text
    assert "🔴 slower" in text
    suite = ElementTree.fromstring(continuous.junit(found)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failing = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failing == ["tflite"]


# --- in formats of others


def test_every_format_that_is_offered_is_written() -> None:
    result = made(tflite=4.0)
    assert all(exporting.export(result, to) for to in exporting.FORMATS)


def test_csv_has_every_sample() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    rows = list(csv.DictReader(exporting.as_csv(result).splitlines()))
    assert len(rows) == 400
    for contestant in result.contestants:
        mine = [int(r["ns"]) for r in rows if r["artifact"] == contestant.format]
        assert mine == contestant.samples


def test_pyperf_gets_a_suite_of_its_own_form_with_every_sample() -> None:
    """The suite of pyperf's documentation: benchmarks with a name, runs with values in seconds."""
    result = made(saved_model=10.0, tflite=4.0)
    suite = json.loads(exporting.as_pyperf(result))
    assert suite["version"] == "1.0"
    assert [b["metadata"]["name"] for b in suite["benchmarks"]] == ["saved_model", "tflite"]
    values = [value for run in suite["benchmarks"][1]["runs"] for value in run["values"]]
    assert values == pytest.approx([ns / 1e9 for ns in result.contestants[1].samples])
    assert suite["benchmarks"][1]["runs"][0]["warmups"] == [[1, 0.0048]] * 5
    assert suite["metadata"]["unit"] == "second"


def test_prometheus_gets_the_quantiles_that_the_samples_can_state() -> None:
    text = exporting.as_prometheus(made(saved_model=10.0, tflite=4.0))
    assert "# TYPE edgefreeze_latency_seconds gauge" in text
    line = next(li for li in text.splitlines() if 'artifact="tflite"' in li and 'quantile="0.5"' in li)
    assert float(line.rpartition(" ")[2]) == pytest.approx(0.004, rel=0.05)
    assert 'quantile="0.99"' not in text, "200 samples cannot state it"
    assert text.endswith("\n")
