"""The benchmark as a command of its own, and the gates of a deployment, on this machine as a device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.benchmark import store

from .conftest import Result

pytestmark = [pytest.mark.tf, pytest.mark.alone]
Run = Callable[..., Result]
QUICK = ("--min-samples", "100", "--max-seconds", "3", "--cold-starts", "1")


def releases_there(device: Path) -> list[str]:
    folder = device / "apps" / "demo" / "releases"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def deploy(run: Run, model: Path, *more: str) -> Result:
    return run("deploy", model, "--app", "demo", "--format", "tflite", "--json", *more)


@pytest.fixture
def active(small: Path, device: Path, prebuilt: None, edgefreeze_: Run) -> str:
    """small_a, deployed without a benchmark."""
    return str(deploy(edgefreeze_, small / "small_a", "--no-bench").json["release"])


def test_what_is_active_is_measured_and_kept(
    active: str, device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    html = tmp_path / "report.html"
    more = ("--cold-starts", "2", "--profile", "--html", html, "--json")
    document = edgefreeze_("bench", *QUICK, *more).json
    assert (document["command"], document["ok"], document["release"]) == ("bench", True, active)
    assert (document["emulated"], document["device"], document["complete"]) == (False, "local", True)
    assert {"before", "during", "after"} == {e["when"] for e in document["environment"]}
    names = [c["format"] for c in document["contestants"]]
    assert names == ["tflite", "tflite@no-xnnpack"]
    for contestant in document["contestants"]:
        assert contestant["failed"] is None
        assert sum(len(block) for block in contestant["samples_ns"]) == 100
        assert contestant["p50_ms"] > 0
        assert contestant["p99_ms"] is None
        assert contestant["cold_start"]["total_ms"] > contestant["cold_start"]["load_ms"]
        assert len(contestant["starts"]) == 2
        assert contestant["memory"]["pss_bytes"] > 10_000_000
        assert contestant["bytes"] > 1000
        assert contestant["version"].startswith("ai-edge-litert")
    assert all(set(o) == {"name", "type", "ns"} for o in document["operations"]["tflite"])
    assert document["operations"]["tflite"]
    assert document["comparisons"] == [], "there is no SavedModel to compare with"
    assert document["runs"] == "tflite"
    (kept,) = edgefreeze_("results", "list", "--json").json["results"]
    assert kept["id"] == document["run"]
    result = store.find(document["run"][:8])
    assert [list(map(list, c.samples_ns)) for c in result.contestants] == [
        c["samples_ns"] for c in document["contestants"]
    ]
    assert edgefreeze_("results", "show", "latest").out.count("tflite") >= 2
    assert edgefreeze_("results", "export", "latest", "--to", "csv").out.count("\n") == 201
    assert (
        "edgefreeze_latency_seconds" in edgefreeze_("results", "export", "latest", "--to", "prometheus").out
    )
    assert "<svg" in html.read_text()
    assert releases_there(device) == [active]
    assert list((device / "bench").glob("*.jsonl")) == [], "what the host has is gone from the device"


def test_threads_are_swept_and_the_text_says_it(active: str, edgefreeze_: Run) -> None:
    one = str(min(os.sched_getaffinity(0)))
    document = edgefreeze_(
        "bench", *QUICK, "--threads", "1,2", "--fixed-rate", "200", "--cpus", one, "--json"
    ).json
    assert [c["cpus"] for c in document["contestants"]] == [[int(one)]] * 4
    assert [(c["format"], c["threads"]) for c in document["contestants"]] == [
        ("tflite", 1), ("tflite@no-xnnpack", 1), ("tflite", 2), ("tflite@no-xnnpack", 2),
    ]  # fmt: skip
    assert len(edgefreeze_("results", "list", "--json").json["results"]) == 1
    shown = edgefreeze_("results", "show", "latest").out
    assert "threads" in shown
    assert "200 calls a second" in shown
    assert f"processors {one}" in shown


def test_batches_are_swept_each_with_a_page(
    small: Path, device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    quick = ("--min-samples", "8", "--max-seconds", "1", "--cold-starts", "1", "--format", "tflite")
    page = tmp_path / "report.html"
    found = edgefreeze_(
        "bench", small / "small_a", "--app", "demo", "--batch", "1,4", *quick, "--html", page, "--json"
    )
    assert found.status == 0, found.out + found.err
    one, four = found.json["batches"]
    assert (one["options"]["batch"], four["options"]["batch"]) == (1, 4)
    assert one["run"] == found.json["run"] != four["run"]
    assert {c["failed"] for b in (one, four) for c in b["contestants"]} == {None}
    assert sorted(p.name for p in tmp_path.glob("*.html")) == ["report-batch1.html", "report-batch4.html"]


def test_a_release_is_measured_and_gone_again(
    active: str, device: Path, releases: dict[str, Any], edgefreeze_: Run
) -> None:
    other = releases["small_b"].release
    found = edgefreeze_("bench", other.folder, *QUICK, "--max-regress", "400%", "--json")
    assert found.status == 0, found.out
    document = found.json
    assert document["release"] == other.id
    assert [c["format"] for c in document["contestants"]][-1] == "active:tflite"
    pairs = {(c["baseline"], c["candidate"]) for c in document["comparisons"]}
    assert ("active:tflite", "tflite") in pairs
    assert [g["passed"] for g in document["gates"]] == [True]
    assert releases_there(device) == [active]
    status = edgefreeze_("status", "--json").json
    assert (status["release"], len(status["apps"][0]["releases"])) == (active, 1)
    again = edgefreeze_("bench", releases["small_a"].release.folder, *QUICK, "--json")
    assert again.status == 0
    assert releases_there(device) == [active], "one that was there stays"


def test_a_model_is_measured_on_a_device_that_has_nothing(
    small: Path, device: Path, edgefreeze_: Run
) -> None:
    found = edgefreeze_("bench", small / "small_a", "--app", "demo", "--format", "tflite", *QUICK, "--json")
    assert found.status == 0, found.out
    assert [c["format"] for c in found.json["contestants"]] == ["tflite", "tflite@no-xnnpack"]
    assert found.json["parity"]["tflite"]["ok"]
    assert releases_there(device) == []
    assert edgefreeze_("status", "--json").json["apps"] == []
    stored = [p for p in (device / "store").rglob("*") if p.is_file() and p.name != "lock"]
    assert stored == []


def test_a_gate_that_is_not_met_is_exit_status_6(active: str, edgefreeze_: Run) -> None:
    failed = edgefreeze_("bench", *QUICK, "--require", "p50<1us", "--require", "rss<4GB", "--json")
    assert failed.status == 6
    document = failed.json
    assert document["error"]["code"] == "gate-failed"
    assert [g["passed"] for g in document["gates"]] == [False, True]
    assert document["contestants"], "what was measured is there all the same"
    text = edgefreeze_("bench", *QUICK, "--require", "p99<1s")
    assert text.status == 6
    assert "p99 needs 662: --min-samples 662" in text.out + text.err
    assert edgefreeze_("bench", "--require", "p95>1ms", "--json").json["error"]["code"] == "gate-syntax"


def test_a_gate_decides_whether_a_deployment_becomes_active(
    active: str, small: Path, device: Path, prebuilt: None, releases: dict[str, Any], edgefreeze_: Run
) -> None:
    failed = deploy(edgefreeze_, small / "small_b", *QUICK, "--require", "p95<1us")
    assert failed.status == 6
    assert failed.json["error"]["code"] == "gate-failed"
    assert active[:12] in failed.json["error"]["device_state"]
    assert releases_there(device) == [active], "the device is as it was"
    status = edgefreeze_("status", "--json").json
    assert (status["release"], status["previous"]) == (active, None)
    passed = deploy(
        edgefreeze_,
        small / "small_b",
        *QUICK,
        "--require",
        "p90<10s",
        "--require",
        "speedup(tflite,tflite)>1",
    )
    assert passed.status == 6, "nothing is faster than itself"
    passed = deploy(edgefreeze_, small / "small_b", *QUICK, "--require", "p90<10s", "--max-regress", "900%")
    assert passed.status == 0, passed.out
    document = passed.json
    assert [g["passed"] for g in document["gates"]] == [True, True]
    assert document["active"] == releases["small_b"].release.id
    assert any(c["format"] == "active:tflite" for c in document["bench"]["contestants"])


def test_a_gate_that_fails_leaves_the_release_before_where_it_was(
    active: str, small: Path, device: Path, prebuilt: None, edgefreeze_: Run
) -> None:
    """The release to come is the one that was active before: it is no new one, and is not thrown away."""
    second = deploy(edgefreeze_, small / "small_b", "--no-bench").json["release"]
    assert deploy(edgefreeze_, small / "small_a", *QUICK, "--require", "p95<1us").status == 6
    status = edgefreeze_("status", "--json").json
    assert (status["release"], status["previous"]) == (second, active)
    assert releases_there(device) == sorted([active, second])


def test_gates_need_what_they_judge(small: Path, device: Path, edgefreeze_: Run) -> None:
    for options, said in (
        (("--no-bench", "--require", "p95<1s"), "--no-bench leaves it out"),
        (("--require", "accuracy_drop<1%"), "needs data to compute accuracy on"),
    ):
        failure = edgefreeze_("deploy", small / "small_a", "--json", *options).json["error"]
        assert failure["code"] == "usage"
        assert said in failure["message"]


def test_killing_the_host_leaves_no_process_and_loses_no_sample(
    active: str, device: Path, edgefreeze_: Run
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgefreeze", "bench", "--app", "demo", "--min-seconds", "20", "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
    )  # fmt: skip
    parts: list[Path] = []
    deadline = time.monotonic() + 60
    while not parts or parts[0].read_text().count('"kind":"block"') < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
        parts = list(store.root().rglob("*.part"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    streamed = sum(
        len(event["samples_ns"])
        for event in map(json.loads, parts[0].read_text().splitlines())
        if event["kind"] == "block"
    )
    while running(device):
        assert time.monotonic() - killed < 30, running(device)
        time.sleep(0.2)
    (kept,) = edgefreeze_("results", "list", "--json").json["results"]
    assert kept["complete"] is False
    assert streamed > 0
    recovered = edgefreeze_("results", "recover", "--json").json["results"]
    assert [r["run"] for r in recovered] == [kept["id"]]
    samples = sum(len(b) for c in recovered[0]["contestants"] for b in c["samples_ns"])
    assert samples > streamed, "the block under way was kept on the device"
    assert store.find(kept["id"]).complete is False
    assert edgefreeze_("results", "recover", "--json").json["results"] == []


def running(device: Path) -> list[str]:
    """Command lines of helpers and runners of this device."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(device).encode() in word for word in words):
            found.append(b" ".join(words).decode())
    return found


def test_results_are_compared(active: str, edgefreeze_: Run, tmp_path: Path) -> None:
    runs = [edgefreeze_("bench", *QUICK, "--json").json["run"] for _ in range(2)]
    found = edgefreeze_(
        "compare", *runs, "--markdown", tmp_path / "c.md", "--junit", tmp_path / "c.xml", "--json"
    )
    assert found.status in (0, 6), found.out
    assert len(found.json["pairs"][0]["rows"]) == 2
    assert "| `tflite` |" in (tmp_path / "c.md").read_text()
    assert "<testsuite " in (tmp_path / "c.xml").read_text()
    document = json.loads(Path(store.listed()[0].path).read_text())
    document["facts"]["cpu_model"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(document))
    refused = edgefreeze_("compare", tmp_path / "other.json", runs[1], "--json")
    assert (refused.status, refused.json["error"]["code"]) == (3, "results-unlike")
    assert "CPU: another" in refused.json["error"]["found"]
    assert edgefreeze_("compare", tmp_path / "other.json", runs[1], "--anyway").status in (0, 6)
