"""The whole way to this machine: the very helper that boards run, as a subprocess."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgefreeze import deploying
from edgefreeze.accuracy import Accuracy
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.transport.client import Helper, Upload, connect

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def deploy(run: Run, model: Path, *more: str) -> Result:
    return run("deploy", model, "--app", "demo", "--format", "tflite", "--no-bench", "--json", *more)


def check_whole(device: Path, release: str | None) -> None:
    """`current` names a whole release whose bytes are those of its manifest; or there is none."""
    current = device / "apps" / "demo" / "current"
    if release is None:
        assert not os.path.lexists(current)
        return
    assert current.resolve().name == release
    manifest = (current / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == release
    for entry in json.loads(manifest)["files"]:
        assert hashlib.sha256((current / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]


def test_a_model_goes_all_the_way(small: Path, device: Path, edgefreeze_: Run, tmp_path: Path) -> None:
    """Nothing is faked here: convert, prove, ship, self-test, duel, activate, then infer."""
    result = edgefreeze_("deploy", small / "small_a", "--app", "demo", "--json")
    assert result.status == 0, result.out
    document = result.json
    assert (document["command"], document["ok"]) == ("deploy", True)
    assert document["active"] == document["release"]
    assert document["previous"] is None
    assert document["rolled_back"] is False
    assert (document["device"], document["target"]) == ("local", "x86")
    assert document["bytes_total"] == document["bytes_sent"] + document["bytes_saved"]
    assert {"connect", "build", "send", "verify", "selftest", "bench", "activate"} <= set(document["seconds"])
    formats = {"frozen_pb", "saved_model", "tflite", "onnx"}
    assert {a["format"] for a in document["artifacts"] if a["status"] == "verified"} == formats
    assert {t["format"] for t in document["selftest"] if t["ok"]} == formats
    duel = document["bench"]
    assert duel["emulated"] is False
    assert {c["format"] for c in duel["contestants"]} == formats
    for contestant in duel["contestants"]:
        assert contestant["failed"] is None
        assert sum(len(b) for b in contestant["samples_ns"]) >= 100
        assert contestant["p50_ms"] > 0
        assert contestant["p99_ms"] is None  # 200 samples cannot state it
        assert contestant["cold_start"]["first_ms"] > 0
        assert contestant["memory"]["peak_bytes"] > 10_000_000
    assert {(c["baseline"], c["candidate"]) for c in duel["comparisons"]} == {
        ("saved_model", f) for f in formats - {"saved_model"}
    }
    check_whole(device, document["release"])

    image = np.random.default_rng(3).random((5, 8, 8, 1), np.float32)
    np.savez(tmp_path / "in.npz", image=image)
    answers = {}
    for name in sorted(formats):
        out = tmp_path / f"{name}.npz"
        ran = edgefreeze_("run", "--input", tmp_path / "in.npz", "--output", out, "--format", name, "--json")
        assert ran.status == 0, ran.out
        assert ran.json["format"] == name
        answers[name] = np.load(out)["logits"]
        assert answers[name].shape == (5, 10)
    for name in formats:
        np.testing.assert_allclose(answers[name], answers["saved_model"], atol=1e-4)

    again = edgefreeze_("deploy", small / "small_a", "--app", "demo", "--no-bench", "--json").json
    assert again["release"] == document["release"], "the same model gave another release"
    assert again["bytes_sent"] == 0


def test_deploy_redeploy_roll_back(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, releases: dict[str, Any]
) -> None:
    first = deploy(edgefreeze_, small / "small_a").json
    second = deploy(edgefreeze_, small / "small_b").json
    a, b = releases["small_a"].release.id, releases["small_b"].release.id
    assert (first["active"], second["previous"], second["active"]) == (a, a, b)
    status = edgefreeze_("status", "--json").json
    assert (status["release"], status["previous"]) == (b, a)
    back = edgefreeze_("rollback", "--json").json
    assert (back["release"], back["previous"], back["bytes_sent"]) == (a, b, 0)
    check_whole(device, a)
    third = deploy(edgefreeze_, small / "small_b").json
    assert (third["active"], third["bytes_sent"]) == (b, 0)
    there = edgefreeze_("rollback", "--to", a[:8], "--json").json
    assert there["release"] == a
    events = [e["event"] for e in edgefreeze_("history", "--json").json["entries"]]
    assert events == ["activated", "activated", "rolled-back", "activated", "rolled-back"]
    for command in (("status",), ("history",)):
        shown = edgefreeze_(*command)
        assert shown.status == 0
        assert a[:12] in shown.out


def test_a_dry_run_changes_nothing(small: Path, device: Path, prebuilt: None, edgefreeze_: Run) -> None:
    document = deploy(edgefreeze_, small / "small_a", "--dry-run").json
    assert document["dry_run"] is True
    assert document["bytes_needed"] > 0
    assert document["bytes_sent"] == 0
    assert document["active"] is None
    assert not (device / "apps" / "demo" / "releases").exists()
    assert (
        "nothing was sent"
        in edgefreeze_(
            "deploy", small / "small_a", "--app", "demo", "--format", "tflite", "--dry-run", "-q"
        ).out
    )


def test_a_frozen_graph_that_differs_never_leaves_the_host(
    small: Path, device: Path, edgefreeze_: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: between writing and proving, the frozen graph's weights change."""
    from edgefreeze.worker import client

    real = client.run

    def tampering(request: dict[str, Any], **more: Any) -> dict[str, Any]:
        result = real(request, **more)
        graph = Path(request["out"]) / "model.pb"
        data = bytearray(graph.read_bytes())
        # The largest run of weights is the dense layer's: change a stretch of it, and nothing else.
        weights = np.frombuffer(bytes(data[-8000:-4000]), np.uint8)
        data[-8000:-4000] = (weights ^ 0x3F).tobytes()
        graph.write_bytes(bytes(data))
        return result

    monkeypatch.setattr(client, "run", tampering)
    result = deploy(edgefreeze_, small / "small_a")
    assert result.status == 6, result.out
    error = result.json["error"]
    assert error["code"] == "parity-failed"
    assert error["expected"]
    assert error["found"]
    check_whole(device, None)
    assert not list((device / "store").rglob("?" * 64)) if (device / "store").exists() else True


def test_an_artifact_damaged_on_the_way_never_becomes_active(
    small: Path,
    device: Path,
    prebuilt: None,
    edgefreeze_: Run,
    monkeypatch: pytest.MonkeyPatch,
    releases: dict[str, Any],
) -> None:
    deploy(edgefreeze_, small / "small_a")
    a = releases["small_a"].release.id

    class Flipped:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Flipped:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, count: int) -> bytes:
            data = bytearray(self.file.read(count))
            data[len(data) // 2] ^= 0x10
            return bytes(data)

        def seek(self, place: int) -> None:
            self.file.seek(place)

    real = Helper.put

    def damaging(self: Helper, uploads: Any, on_bytes: Any, rate: Any = None) -> int:
        return real(
            self, [Upload(u.sha256, u.bytes, lambda u=u: Flipped(u.open())) for u in uploads], on_bytes, rate
        )

    with monkeypatch.context() as patch:
        patch.setattr(Helper, "put", damaging)
        result = deploy(edgefreeze_, small / "small_b")
    error = result.json["error"]
    assert error["code"] == "digest-mismatch"
    assert error["device_state"] == f"release {a[:12]} is active there"
    assert error["retry_safe"] is True
    check_whole(device, a)
    assert deploy(edgefreeze_, small / "small_b").json["active"] == releases["small_b"].release.id


def test_content_damaged_at_rest_is_found_when_it_is_read_back(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, releases: dict[str, Any]
) -> None:
    deploy(edgefreeze_, small / "small_a")
    deploy(edgefreeze_, small / "small_b")
    b = releases["small_b"].release
    edgefreeze_("rollback")
    model = next(device.glob(f"apps/demo/releases/{b.id}/*.tflite"))
    model.chmod(0o600)
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    result = deploy(edgefreeze_, small / "small_b")
    # Either it is noticed and sent anew, or it is refused; in no case does it run.
    if result.status == 0:
        check_whole(device, b.id)
    else:
        assert result.json["error"]["code"] == "digest-mismatch"
        check_whole(device, releases["small_a"].release.id)
        assert deploy(edgefreeze_, small / "small_b").status == 0
        check_whole(device, b.id)


def test_a_runtime_that_computes_wrong_numbers_never_gets_a_release(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, wrong_python: Path, releases: dict[str, Any]
) -> None:
    """The bytes are right; the interpreter of the device has a LiteRT of its own that adds a little."""
    deploy(edgefreeze_, small / "small_a")
    a = releases["small_a"].release.id
    Path("edgefreeze.toml").write_text(
        f'[devices.odd]\ntarget = "x86"\ntransport = "local"\npython = "{wrong_python}"\n'
    )
    result = deploy(edgefreeze_, small / "small_b", "--host", "odd")
    assert result.status == 6, result.out
    error = result.json["error"]
    assert error["code"] == "selftest-failed"
    assert "tflite: error at most" in error["expected"]
    assert "'logits'" in error["found"]
    assert error["device_state"] == f"release {a[:12]} is active there"
    check_whole(device, a)
    text = edgefreeze_(
        "deploy", small / "small_b", "--app", "demo", "--format", "tflite", "-q", "--host", "odd"
    )
    assert text.status == 6
    assert "error: odd: release" in text.err
    assert f"device    release {a[:12]} is active there" in text.err
    assert "Traceback" not in text.err


def test_accuracy_is_computed_from_what_the_device_answers(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, tmp_path: Path
) -> None:
    image = np.random.default_rng(4).random((40, 8, 8, 1), np.float32)
    np.savez(tmp_path / "in.npz", image=image)
    deploy(edgefreeze_, small / "small_a")
    edgefreeze_("run", "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    label = np.argmax(np.load(tmp_path / "out.npz")["logits"], -1)
    label[:10] = (label[:10] + 1) % 10  # a quarter wrong
    np.savez(tmp_path / "eval.npz", image=image, label=label)
    (found,) = deploy(edgefreeze_, small / "small_a", "--eval", str(tmp_path / "eval.npz")).json["accuracy"]
    assert found == {
        "format": "tflite", "accuracy": 0.75, "original": 0.75, "rows": 40, "worse": 0, "better": 0,
    }  # fmt: skip
    for limit, status in (("20%", 0), ("5%", 6)):  # forty rows cannot show less than 12 points
        gate = f"accuracy_drop<{limit}"
        asked = deploy(
            edgefreeze_, small / "small_a", "--eval", str(tmp_path / "eval.npz"), "--require", gate
        )
        assert asked.status == status, asked.out


@pytest.mark.parametrize(("known", "asked"), [(False, ["discard"]), (True, [])])
def test_accuracy_that_drops_there_costs_no_release_that_the_device_had_before(
    known: bool, asked: list[str]
) -> None:
    """It may be the one to go back to. No artifact here computes otherwise there than on the host, which
    refuses it first: so the accuracy is made up, and the helper only notes what it is asked."""
    told: list[str] = []

    class Noting:
        where = "here"

        def request(self, op: str, args: dict[str, Any]) -> dict[str, Any]:
            told.append(op)
            return {}

        def state_sentence(self) -> str:
            return "unchanged"

    release: Any = SimpleNamespace(id="a" * 64, manifest={"app": "demo"})
    helper: Any = Noting()
    worse = (Accuracy(format="tflite", accuracy=0.5, original=0.9, rows=100),)
    with pytest.raises(Failure) as caught:
        deploying._require_accuracy(helper, release, worse, 1.0, known=known)
    assert (caught.value.code, told) == ("accuracy-dropped", asked)


def test_two_targets_that_differ_in_freeze_options_give_different_artifacts(
    small: Path, device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    shipped = Path(__file__).parents[2] / "targets" / "x86.toml"
    mine = tmp_path / "mine"
    mine.mkdir()
    text = shipped.read_text()
    (mine / "plain.toml").write_text(text)
    (mine / "fixed.toml").write_text(text.replace("[freeze]\n", "[freeze]\nbatch = 1\n"))
    found = {}
    for name in ("plain", "fixed"):
        result = edgefreeze_(
            "deploy", small / "small_a", "--app", "demo", "-t", name, "--targets", mine, "--format", "frozen_pb",
            "--dry-run", "--json",
        )  # fmt: skip
        assert result.status == 0, result.out
        (found[name],) = (a for a in result.json["artifacts"] if a["format"] == "frozen_pb")
    assert found["plain"]["sha256"] != found["fixed"]["sha256"]
    assert found["plain"]["inputs"][0]["shape"] == [None, 8, 8, 1]
    assert found["fixed"]["inputs"][0]["shape"] == [1, 8, 8, 1]


def test_accuracy_with_a_fixed_batch(small: Path, device: Path, edgefreeze_: Run, tmp_path: Path) -> None:
    """A graph that takes four rows at a time is asked for seven."""
    mine = tmp_path / "mine"
    mine.mkdir()
    text = (Path(__file__).parents[2] / "targets" / "x86.toml").read_text()
    (mine / "four.toml").write_text(text.replace("[freeze]\n", "[freeze]\nbatch = 4\n"))
    image = np.random.default_rng(4).random((7, 8, 8, 1), np.float32)
    np.savez(tmp_path / "eval.npz", image=image, label=np.arange(7))
    result = edgefreeze_(
        "deploy", small / "small_a", "-t", "four", "--targets", mine, "--format", "tflite", "--no-bench", "--json",
        "--eval", tmp_path / "eval.npz",
    )  # fmt: skip
    assert result.status == 0, result.out
    (found,) = result.json["accuracy"]
    assert found["rows"] == 7
    assert found["accuracy"] == found["original"]


def test_somebody_else_at_work_is_named(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, releases: dict[str, Any]
) -> None:
    deploy(edgefreeze_, small / "small_a")
    here = Device(name="local", target="x86", transport="local", host=None, python=None, root=None)
    with connect(here) as other:
        other.request("open_app", {"app": "demo", "who": "kim@laptop", "mode": "write"})
        result = deploy(edgefreeze_, small / "small_b")
        assert result.status == 1
        error = result.json["error"]
        assert error["code"] == "locked"
        assert "kim@laptop" in error["message"] + (error["found"] or "")
        assert error["retry_safe"] is True
    check_whole(device, releases["small_a"].release.id)
    assert deploy(edgefreeze_, small / "small_b").status == 0


@pytest.mark.parametrize("step", ["put", "stage", "selftest", "activate"])
def test_a_helper_that_dies_leaves_the_old_release_and_the_next_run_converges(
    step: str, small: Path, device: Path, prebuilt: None, edgefreeze_: Run, monkeypatch: pytest.MonkeyPatch,
    releases: dict[str, Any],
) -> None:  # fmt: skip
    """Killed as the step's request is about to be sent; tests/device kills inside the steps."""
    deploy(edgefreeze_, small / "small_a")
    a, b = (releases[name].release.id for name in ("small_a", "small_b"))
    real, pids = Helper._write, []

    def write(self: Helper, message: dict[str, Any], blob: int) -> int:
        if not pids and message["op"] == step and "linked" not in message:  # those are for what is active
            pids.append(self.request("ping")["pid"])
            os.kill(pids[0], 9)
            time.sleep(0.1)
        return real(self, message, blob)

    with monkeypatch.context() as patch:
        patch.setattr(Helper, "_write", write)
        result = deploy(edgefreeze_, small / "small_b")
    assert pids
    assert result.status == 4, result.out
    error = result.json["error"]
    assert error["code"] == "helper-died"
    assert f"'{step}'" in error["message"]
    assert error["device_state"].startswith(f"release {a[:12]} is active there")
    check_whole(device, a)
    assert deploy(edgefreeze_, small / "small_b").json["active"] == b
    check_whole(device, b)


def test_an_interrupt_leaves_no_process_and_the_old_release(
    small: Path, device: Path, tmp_path: Path
) -> None:
    """Ctrl-C while the model is being converted."""
    command = [sys.executable, "-m", "edgefreeze", "deploy", str(small / "small_a"), "--app", "demo"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "loading the model" in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, "".join(said) + err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while (left := _ours(device)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    check_whole(device, None)


def _ours(device: Path) -> list[str]:
    """Processes that work on the device's root."""
    lines = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in lines if str(device) in line]
