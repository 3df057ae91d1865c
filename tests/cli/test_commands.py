"""The command line: quick to start, clear when it fails, JSON where it was asked for."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.cli import main, output
from edgefreeze.cli.main import COMMANDS
from edgefreeze.errors import Failure


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and state of its own."""
    work = tmp_path / "work"
    (work / "there").mkdir(parents=True)
    (work / "there" / "saved_model.pb").write_bytes(b"\x08\x01")
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", "/dev/null")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return work


def run(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.run([str(a) for a in arguments])
    return status, out.getvalue(), err.getvalue()


def error(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """The exit status and the error object of a command that fails, which is the same in both forms."""
    status, out, _ = run(*arguments, "--json")
    document = json.loads(out)
    assert document["ok"] is False
    assert set(document["error"]) == {
        "code", "message", "expected", "found", "device_state", "retry_safe", "next",
    }  # fmt: skip
    text_status, text_out, text_err = run(*arguments)
    assert text_status == status
    assert text_out == ""
    assert f"[{document['error']['code']}]" in text_err
    assert "Traceback" not in text_err
    return status, document["error"]


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["targets", "list"], ["targets", "show", "pi4"], ["deploy", "--help"], ["--version"]],
)
def test_what_is_quick_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom edgefreeze.cli import main\n"
        f"status = main.run({arguments!r})\n"
        "heavy = {'tensorflow', 'keras', 'paramiko', 'cryptography', 'numpy', 'rich', 'onnx', 'google.protobuf'}\n"
        "heavy &= set(sys.modules)\n"
        "assert status == 0, status\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    status, out, _ = run(name, "--help")
    assert status == 0
    for inner in re.findall(r"^  ([a-z-]+) ", out.partition("Commands:")[2], re.MULTILINE):
        out += run(name, inner, "--help")[1]
    assert f"edgefreeze {name}" in out
    assert "Example" in out
    assert "--json" in out


def test_the_list_of_commands_is_the_folder() -> None:
    folder = Path(main.__file__).parent
    others = {"__init__", "main", "bench_options", "model_options", "options", "output", "progress"}
    assert {p.stem.replace("_", "-") for p in folder.glob("*.py") if p.stem not in others} == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "status", "code", "message"),
    [
        (["deplyo"], 2, "usage", "There is no command 'deplyo'. Did you mean 'deploy'?"),
        (["deploy", "--tagret", "pi4"], 2, "usage", "No such option '--tagret'"),
        (["run"], 2, "usage", "Missing option '-i'"),
        (["deploy"], 3, "model-missing", "no model was named"),
        (["deploy", "m"], 3, "model-missing", "There is no model at m."),
        (["deploy", "."], 3, "model-unknown", "is no kind of model"),
        (["deploy", "m", "-t", "pi5x"], 3, "target-unknown", "there is no target 'pi5x'"),
        (["deploy", "m", "-t", "pi4"], 3, "device-unknown", "no device of the target 'pi4' is known"),
        (["deploy", "m", "--app", "a/b"], 3, "name-invalid", "--app: 'a/b' cannot be a name"),
        (
            ["deploy", "m", "--format", "tflight"],
            3,
            "format-unknown",
            "There is no format 'tflight'; did you",
        ),
        (["deploy", "m", "--host", "-oProxyCommand=x"], 3, "device-unknown", "is no device"),
        (["deploy", "there", "--eval", "none.npz"], 3, "samples-bad", "none.npz"),
        (["targets", "show", "pi-4"], 3, "target-unknown", "did you mean 'pi4'"),
        (["targets", "list", "--targets", "nowhere"], 3, "config-value", "no such folder"),
        pytest.param(
            ["rollback", "--host", "pi@127.0.0.1:1"],
            4,
            "unreachable",
            "cannot reach 127.0.0.1 port 1",
            marks=pytest.mark.process,
        ),
        pytest.param(
            ["status", "--app", "x"], 1, "no-app", "there is no app x here", marks=pytest.mark.process
        ),
        pytest.param(["rollback"], 1, "no-app", "local has no app yet", marks=pytest.mark.process),
        (["run", "-i", "none.npz", "-o", "x.npz"], 3, "samples-bad", "none.npz"),
        pytest.param(["bench"], 1, "no-app", "local has no app yet", marks=pytest.mark.process),
        (["bench", "--threads", "0"], 2, "usage", "'0' is no list of numbers from 1 to 256"),
        (["bench", "--cpus", "3-1"], 2, "usage", "'3-1' is no list of processors"),
        (["bench", "--cpus", "all"], 2, "usage", "'all' is no list of processors"),
        pytest.param(
            ["bench", "--cpus", "0,4095"],
            3,
            "no-cpu",
            "cannot run on processor 4095",
            marks=pytest.mark.process,
        ),
        (["bench", "--max-regress", "much"], 2, "usage", "'much' is no percentage"),
        (["bench", "--min-seconds", "9", "--max-seconds", "1"], 2, "usage", "less than --min-seconds"),
        (["bench", "--require", "p95>40ms"], 2, "gate-syntax", "from character 4 on"),
        pytest.param(
            ["bench", "nowhere"],
            3,
            "model-missing",
            "There is no model at nowhere.",
            marks=pytest.mark.process,
        ),
        (["deploy", "m", "--no-bench", "--html", "x.html"], 2, "usage", "--html reports the measurement"),
        (["deploy", "m", "--no-bench", "--require", "p95<1s"], 2, "usage", "--no-bench leaves it out"),
        (["compare", "latest"], 2, "usage", "compare what with it?"),
        (["compare", "a", "b"], 3, "bad-result", "no results start with 'a'"),
        (["results", "show", "latest"], 3, "bad-result", "no results start with 'latest'"),
        (["results", "export", "there", "--to", "csv"], 3, "bad-result", "no results start with 'there'"),
    ],
)
def test_mistakes(arguments: list[str], status: int, code: str, message: str) -> None:
    found, failure = error(*arguments)
    assert (found, failure["code"]) == (status, code)
    assert message in failure["message"]


def test_without_tensorflow_formats_something_must_be_left() -> None:
    status, failure = error("deploy", "m", "--no-tf", "--format", "frozen_pb")
    assert (status, failure["code"]) == (3, "format-unknown")
    assert failure["next"] == "add --format tflite"


def test_several_devices_of_a_target_are_listed(elsewhere: Path) -> None:
    (elsewhere / "edgefreeze.toml").write_text(
        'model = "m"\n[devices.a]\ntarget = "pi4"\n[devices.b]\ntarget = "pi4"\n'
    )
    status, failure = error("deploy", "-t", "pi4")
    assert (status, failure["code"]) == (3, "device-ambiguous")
    assert "a, b" in failure["message"]
    assert error("deploy", "-t", "x86", "--host", "a")[1]["code"] == "device-mismatch"


def test_a_mistake_in_the_file_names_file_and_line(elsewhere: Path) -> None:
    (elsewhere / "edgefreeze.toml").write_text('model = "m"\ntraget = "pi4"\n')
    status, failure = error("deploy")
    assert (status, failure["code"]) == (3, "config-key")
    assert "edgefreeze.toml, line 2: unknown key 'traget'; did you mean 'target'?" in failure["message"]


def test_init_writes_a_file_that_works_and_keeps_one_that_is_there(elsewhere: Path) -> None:
    status, out, _ = run("init", "--model", "net.keras", "--app", "cam", "--target", "pi4")
    assert status == 0
    assert out.endswith("next: edgefreeze devices add NAME HOST --target pi4\n")
    text = (elsewhere / "edgefreeze.toml").read_text()
    assert 'target = "pi4"' in text
    status, failure = error("init")
    assert (status, failure["code"]) == (3, "config-exists")
    assert (elsewhere / "edgefreeze.toml").read_text() == text
    assert run("init", "--force", "--target", "x86")[0] == 0
    # What the file says is what deploy takes: it gets as far as the model that is not there.
    assert error("deploy", "--app", "cam")[1]["code"] in ("model-missing",)


def test_targets_show_is_toml_that_reads_back() -> None:
    import tomllib

    status, out, _ = run("targets", "show", "pi4")
    assert status == 0
    table = tomllib.loads(out)
    assert table["match"]["machine"] == ["aarch64"]
    assert table["limits"]["keep_releases"] == 3
    document = json.loads(run("targets", "show", "pi4", "--json")[1])
    assert (document["schema"], document["command"], document["ok"]) == (1, "targets show", True)
    assert document["target"]["name"] == "pi4"


def test_text_from_outside_cannot_command_the_terminal() -> None:
    failure = Failure("no-app", "bad \x1b[31mname", found="\x1b]0;title\x07x", next="a\rb")
    assert set(re.findall("\x1b[^m]*m", output.text_of(failure))) <= {
        "\x1b[31m",
        "\x1b[1m",
        "\x1b[2m",
        "\x1b[0m",
    }
    assert "\x1b[31mname" not in output.text_of(failure)
    assert "title" not in output.text_of(failure)


def test_an_interrupt_is_130_and_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefreeze import inventory

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inventory, "load", interrupted)
    status, failure = error("status")
    assert (status, failure["code"], failure["retry_safe"]) == (130, "interrupted", True)


def test_a_defect_is_one_line_and_a_traceback_with_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefreeze import inventory

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inventory, "load", broken)
    status, failure = error("status")
    assert (status, failure["code"]) == (1, "internal")
    assert "ZeroDivisionError: oops" in failure["message"]
    assert "Traceback" in run("status", "--debug")[2]


def test_no_color_takes_colours_out_of_errors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in output.text_of(Failure("no-app", "x"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in output.text_of(Failure("no-app", "x"))
