"""Logs of runs, and the report of a defect made of them: helpful, and without secrets."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from edgefreeze import bug_report, logs
from edgefreeze.cli import main, output

SECRETS = ("hunter2", "s3cr3t", "doorbell-front", "cam-garage", "/srv/jane", "jane", "203.0.113.9", "2001:db8",
           "acme-corp", "eyJhbGciOiJIUzI1NiJ9", "frontdoor")  # fmt: skip
CONFIG = """
model = "/srv/jane/models/doorbell-front"
app = "doorbell-front"
target = "pi4"
hunter2 = "s3cr3t"

[devices.cam-garage]
target = "pi5"
host = "jane@cam-garage.acme-corp.example"
root = "/srv/jane/edge"
bench = { threads = 2 }

[service]
restart = ["curl", "https://jane:hunter2@acme-corp.example/restart"]
successes = 5
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a state folder of the test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.process
def test_a_run_that_fails_names_its_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "--host", "jane@127.0.0.1:1"]) == 4
    said = capsys.readouterr().err
    (path,) = logs.runs()
    assert f"  log       {path}" in said
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == ["bench", "--host", "jane@127.0.0.1:1"]
    assert "connect: connecting to" in lines[1]
    assert "[unreachable]" in path.read_text()
    assert lines[-1].endswith("exit status 4")
    assert path.stat().st_mode & 0o077 == 0, "it holds what was typed"
    assert main.run(["bench", "--host", "jane@127.0.0.1:1", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["log"] == str(logs.runs()[-1])


def test_a_program_that_does_not_answer_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    late = subprocess.TimeoutExpired(["ssh", "-G", "cam1"], 10.0)
    assert output.fail(late, command="status", as_json=False, debug=False) == 1
    assert "ssh did not end within 10 s  [host-program]" in capsys.readouterr().err


def test_a_run_that_does_nothing_leaves_no_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["targets", "list"]) == 0
    assert main.run(["deplyo"]) == 2
    assert "log" not in capsys.readouterr().err
    assert not logs.folder().exists()


@pytest.mark.process
def test_where_no_log_can_be_written_the_run_goes_on(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file"))
    assert main.run(["bench", "--host", "jane@127.0.0.1:1"]) == 4
    said = capsys.readouterr().err
    assert "[unreachable]" in said
    assert "  log  " not in said


def test_a_log_takes_any_name_and_nothing_after_its_end(place: Path) -> None:
    log = logs.Run("bench", ["bench", "model-\udcff"])
    log.line("loading model-\udcff")
    log.end(0)
    log.line("too late")
    assert log.path is not None
    first, second, last = log.path.read_text().splitlines()
    assert json.loads(first) == ["bench", "model-\udcff"]
    assert "udcff" in second
    assert last.endswith("exit status 0")


def test_a_defect_is_logged_with_its_traceback(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefreeze.targets.names", lambda *a: 1 / 0)
    assert main.run(["targets", "list"]) == 1
    (path,) = logs.runs()
    assert str(path) in capsys.readouterr().err
    assert "ZeroDivisionError" in path.read_text()


def test_logs_are_in_the_order_of_time_within_a_second_too(place: Path) -> None:
    """Found by a run that named the log of the one before: their names had a clock that starts anew."""
    made = []
    for _ in range(20):
        made.append(logs.new("bench", logs.RUNS))
        made[-1].touch()
        time.sleep(0.001)
    assert logs.runs() == made


def test_logs_do_not_pile_up(place: Path) -> None:
    for _ in range(logs.KEPT + 5):
        logs.new("bench", logs.RUNS).touch()
    assert len(logs.runs()) == logs.KEPT


def test_a_report_has_the_facts_and_no_planted_secret(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "edgefreeze.toml").write_text(CONFIG)
    monkeypatch.setenv("ACME_TOKEN", "frontdoor")
    monkeypatch.setenv("USER", "jane")
    monkeypatch.setenv("LOGNAME", "jane")
    log = logs.Run("deploy", ["deploy", "/srv/jane/models/x", "--host", "cam-garage", "--app=doorbell-front",
                              "-t", "pi4", "--format", "tflite"])  # fmt: skip
    for line in (
        "connect: connecting to cam-garage",
        "note: jane@203.0.113.9 says password: hunter2, and token=s3cr3t",
        "convert: /srv/jane/models/x to tflite; ~/x and ../jane/y and https://jane:hunter2@acme-corp.example/a",
        "note: 203.0.113.9:22, [2001:db8::7], gate.acme-corp.example, eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxMjM0NTY3",
        "note: frontdoor is what the environment had; doorbell-front is the app",
        'detail: File "/srv/jane/venv/lib/edgefreeze/worker/convert.py", line 12, in convert',
        "error: tensorflow.python.framework.errors_impl.InvalidArgumentError: shape [1,8]  [worker-crashed]",
    ):
        log.line(line)
    log.end(1)
    newer = logs.Run("status", ["status"])
    newer.line("connect: this one ended well")
    newer.end(0)
    assert main.run(["bug-report", "-o", "report.md"]) == 0
    assert "read it before you send it" in capsys.readouterr().err
    text = (place / "report.md").read_text()
    assert [secret for secret in SECRETS if secret in text] == []
    for fact in (
        'target = "pi4"', 'devices.device-1.target = "pi5"', "devices.device-1.host = …", "bench.threads = 2",
        "service.successes = 5", "deploy … --host … --app -t pi4 --format tflite", "[worker-crashed]",
        "tensorflow.python.framework.errors_impl.InvalidArgumentError: shape [1,8]", "line 12, in convert",
        bug_report.RULE, "- tensorflow: 2.", "connect: connecting to …",
    ):  # fmt: skip
        assert fact in text, fact
    assert "ended well" not in text, "the last run that failed is what counts"
    assert main.run(["bug-report", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["versions"]["edgefreeze"]
    assert [secret for secret in SECRETS if secret in json.dumps(document)] == []


@pytest.mark.parametrize("content", [None, "", "model = ", "\ufeff[", "devices = 3"])
def test_a_report_is_made_of_whatever_there_is(
    place: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (place / "edgefreeze.toml").write_text(content)
    logs.new("run", logs.RUNS).write_bytes(b"\xff\x00 no log at all")
    assert main.run(["bug-report"]) == 0
    assert "## Machine" in capsys.readouterr().out
    assert main.run(["bug-report", "-o", "nowhere/x"]) == 3


def test_the_version_is_that_of_the_stack_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("edgefreeze, version ")
    assert rest[0].startswith("  python 3.")
    assert any(line.startswith("  tensorflow 2.") for line in rest)
