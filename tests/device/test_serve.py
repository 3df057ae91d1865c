"""The helper's loop, over pipes."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import protocol

PYTHONS = ["3.8", "3.9", "venv"]


def interpreter(version: str, look: Any) -> str:
    python = sys.executable if version == "venv" else look.python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    return str(python)


@pytest.mark.parametrize("version", PYTHONS)
def test_a_whole_deployment_on_every_python(
    start: Any, made: Any, look: Any, root: Path, version: str
) -> None:
    python = interpreter(version, look)
    helper = start(python=python)
    assert helper.greeting["protocol"] == protocol.PROTOCOL
    assert helper.greeting["root"] == str(root)
    assert helper.ask("ping")["protocol"] == protocol.PROTOCOL
    facts = helper.ask("probe")
    assert facts["python"] == helper.greeting["python"]
    assert facts["python_executable"]
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    files = [["pkg/a.py", look.sha(b"a = 1\n"), 6, False]]
    identity = look.sha(protocol.canonical(files))
    helper.put(b"a = 1\n")
    assert helper.ask("has_tree", {"id": identity}) == {"present": False}
    assert helper.ask("tree", {"id": identity, "files": files}) == {"built": True}
    assert helper.ask("has_tree", {"id": identity}) == {"present": True}
    one = made(content=b"one", python=python, runtimes={"tf_frozen": {"tree": identity}})
    two = made(content=b"two", python=python, runtimes={"tf_frozen": {"tree": identity}})
    one.deploy(helper)
    two.deploy(helper)
    assert helper.ask("rollback", {"app": "cam"})["active"] == one.id
    pruned = helper.ask("prune", {"app": "cam", "keep": 0})
    assert (pruned["releases"], pruned["trees"]) == ([], 0)
    assert helper.ask("bye") == {}
    assert helper.process.wait(10) == 0


def test_requests_may_be_sent_ahead_of_their_answers(start: Any, look: Any) -> None:
    helper = start()
    contents = [b"%d" % i * i for i in range(60)]
    numbers = [helper.send("put", {"sha256": look.sha(c), "bytes": len(c)}, c) for c in contents]
    numbers.append(helper.send("commit"))
    answers = [helper.receive(number) for number in numbers]
    assert all(answer["ok"] for answer in answers)
    assert answers[-1]["result"]["files"] == 60


def test_an_error_consumes_its_blob_and_the_next_request_works(start: Any, look: Any) -> None:
    helper = start()
    blob = b"x" * (3 * protocol.MAX_DATA + 5)
    assert helper.refuse("put", {"sha256": "0" * 64, "bytes": len(blob)}, blob)["code"] == "digest-mismatch"
    assert helper.refuse("put", {"sha256": "0" * 64, "bytes": 1}, blob)["code"] == "protocol"
    assert helper.refuse("ping", {}, blob)["code"] == "protocol"
    assert helper.refuse("nonsense", {}, blob)["code"] == "protocol"
    assert helper.ask("ping")


BAD_ARGUMENTS: list[tuple[str, Any]] = [
    ("ping", {"extra": 1}),
    ("ping", []),
    ("ping", None),
    ("put", {"sha256": "0" * 64}),
    ("put", {"sha256": "0" * 64, "bytes": "1"}),
    ("put", {"sha256": "0" * 64, "bytes": 1.0}),
    ("put", {"sha256": "0" * 64, "bytes": True}),
    ("put", {"sha256": "../../etc/passwd", "bytes": 1}),
    ("put", {"sha256": "0" * 64 + "\n", "bytes": 1}),
    ("missing", {"digests": [["0" * 64]]}),
    ("missing", {"digests": {}}),
    ("open_app", {"app": "../x", "who": "me", "mode": "write"}),
    ("open_app", {"app": ".hidden", "who": "me", "mode": "write"}),
    ("open_app", {"app": "a", "who": "two\nlines", "mode": "write"}),
    ("open_app", {"app": "a", "who": "me", "mode": "append"}),
    ("tree", {"id": "0" * 64, "files": [["../x", "0" * 64, 1, False]]}),
    ("tree", {"id": "0" * 64, "files": [["x", "0" * 64, 1, 0]]}),
    ("tree", {"id": "0" * 64, "files": []}),
    ("activate", {"app": "a", "release": "x"}),
    ("prune", {"app": "a", "keep": -1}),
    ("probe", {"python": "python3"}),
    ("bench", {"app": "a", "plan": {"contestants": [], "order": []}}),
    ("bench", {"app": "a", "plan": {"contestants": ["x"], "order": [0]}}),
    ("bench", {"app": "a", "plan": {"contestants": [{"artifact": "x"}], "order": [0], "threads": 0}}),
    ("bench", {"app": "a", "run": "../x", "plan": {"contestants": [{"artifact": "x"}], "order": [0]}}),
    ("bench_read", {"run": "../../etc/passwd"}),
    ("bench_forget", {"run": "*"}),
    ("governor", {"governor": "../x"}),
    ("governor", {}),
    ({}, {}),
    (None, {}),
]


def test_bad_arguments_are_refused_and_the_helper_stays(start: Any, root: Path) -> None:
    helper = start()
    for op, args in BAD_ARGUMENTS:
        protocol.write_message(helper.stdin, {"id": 1, "op": op, "args": args})
        answer = helper.receive(1)
        assert answer["error"]["code"] == "protocol", (op, args)
        assert "trace" not in answer["error"]
    assert helper.ask("ping")
    assert not (root / "apps").exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"J\x00\x00\x00\x02[]",
        b"J\x00\x00\x00\x02{}",
        b"J\x00\x00\x00\x03{x}",
        b"J\xff\xff\xff\xff",
        b"D\x00\x00\x00\x01x",
    ],
)
def test_garbage_is_answered_once_and_ends_the_helper(start: Any, garbage: bytes) -> None:
    helper = start()
    helper.stdin.write(garbage)
    helper.stdin.flush()
    assert helper.receive(None)["error"]["code"] == "protocol"
    assert helper.stdout.read() == b""
    assert helper.process.wait(10) == 1


def test_a_frame_that_breaks_off_ends_the_helper(start: Any) -> None:
    helper = start()
    helper.stdin.write(b"J\x00\x00\x00\xff{")
    helper.stdin.flush()
    assert helper.close() == 0


def test_what_was_received_before_the_end_is_kept(start: Any, look: Any) -> None:
    helper = start()
    helper.put(b"kept though nobody said commit")
    assert helper.close() == 0
    digest = [look.sha(b"kept though nobody said commit"), 30]
    assert start().ask("missing", {"digests": [digest]})["missing"] == []


def test_a_large_file_cut_in_the_middle_is_resumed(start: Any, look: Any) -> None:
    data = os.urandom(4 << 20)
    digest = look.sha(data)
    helper = start()
    args = {"sha256": digest, "bytes": len(data)}
    protocol.write_message(helper.stdin, {"id": 1, "op": "put", "args": args, "blob": len(data)})
    protocol.write_blob(helper.stdin, data[: 2 << 20])
    # All of it is on its way to the disk once the helper has nothing left to read.
    while sum(p.stat().st_size for p in Path(helper.greeting["root"]).rglob(digest)) < 2 << 20:
        time.sleep(0.01)
    helper.close()
    second = start()
    found = second.ask("missing", {"digests": [[digest, len(data)]]})
    assert found == {"missing": [digest], "partial": {digest: 2 << 20}}
    assert second.ask("put", dict(args, offset=2 << 20), data[2 << 20 :]) == {"stored": True}
    assert second.ask("missing", {"digests": [[digest, len(data)]]})["missing"] == []


def test_it_leaves_when_nothing_is_said(start: Any) -> None:
    helper = start("--idle", "0.3")
    began = time.monotonic()
    assert helper.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert b"no frame within" in helper.process.stderr.read()


def test_it_does_not_leave_while_it_is_spoken_to(start: Any) -> None:
    helper = start("--idle", "0.5")
    for _ in range(5):
        time.sleep(0.2)
        assert helper.ask("ping")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_end(start: Any, made: Any, number: int) -> None:
    helper = start()
    made().deploy(helper)
    helper.process.send_signal(number)
    assert helper.process.wait(10) == 0
    start().ask("open_app", {"app": "cam", "who": "next", "mode": "write"})


def test_a_heartbeat_every_few_seconds_while_it_works(start: Any) -> None:
    helper = start()
    protocol.write_message(
        helper.stdin, {"id": 1, "op": "put", "args": {"sha256": "0" * 64, "bytes": 2}, "blob": 2}
    )
    time.sleep(protocol.HEARTBEAT_S + 0.7)
    protocol.write_blob(helper.stdin, b"xy")
    assert helper.receive(1)["ok"] is False
    assert helper.events == [{"kind": "heartbeat"}]


def test_a_stray_print_does_not_break_the_protocol(start: Any, tmp_path: Path, program: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from edgefreeze.device import serve\n"
        "streams = serve.take_stdio(); print('stray'); os.write(1, b'more'); os.system('echo child')\n"
        "streams[1].write(b'ours'); streams[1].flush()"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", code, program], capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    assert said.stdout == b"ours"
    assert all(word in said.stderr for word in (b"stray", b"more", b"child"))


def _error_of_a_ping_that_does(statement: str, program: Path, root: Path) -> Any:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from edgefreeze.device import checks, ops, requests, serve\n"
        f"def ping(session, request):\n    {statement}\n"
        "ops.OPERATIONS['ping'] = requests.Operation(ping, checks.anything)\n"
        "streams = serve.take_stdio(); root = serve.prepare_root(sys.argv[2])\n"
        "serve.Helper(root, 'p', 60, *streams).run()"
    )
    request = io.BytesIO()
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, program, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    protocol.write_message(request, {"id": 5, "op": "ping", "args": {"app": "cam"}})
    assert process.stdin
    assert process.stdout
    process.stdin.write(request.getvalue())
    process.stdin.flush()
    protocol.skip_to_magic(process.stdout)
    protocol.read_message(process.stdout)
    answer = protocol.read_message(process.stdout)
    process.communicate(timeout=10)
    assert answer["error"]["device_state"] == {"active": None, "previous": None, "phase": "EMPTY"}
    return answer["error"]


def test_an_unexpected_failure_says_where(program: Path, root: Path) -> None:
    error = _error_of_a_ping_that_does("1 / 0", program, root)
    assert error["code"] == "device-internal"
    assert error["message"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in error["trace"]


def test_a_python_whose_module_cannot_be_read_is_not_our_own_error(program: Path, root: Path) -> None:
    error = _error_of_a_ping_that_does("import csv.not_there", program, root)
    assert error["code"] == "python-broken"
    assert "csv.not_there" in error["message"]
    assert error["expected"] == "a whole Python installation"
    own = _error_of_a_ping_that_does("from edgefreeze.device.probe import never", program, root)
    assert own["code"] == "device-internal"


def test_memory_stays_bounded_while_a_large_file_comes(start: Any) -> None:
    import hashlib

    helper = start()
    piece = os.urandom(protocol.MAX_DATA)
    count = 300 * (1 << 20) // len(piece)
    state = hashlib.sha256()
    for _ in range(count):
        state.update(piece)
    size = count * len(piece)
    args = {"sha256": state.hexdigest(), "bytes": size}
    protocol.write_message(helper.stdin, {"id": 1, "op": "put", "args": args, "blob": size})
    for _ in range(count):
        protocol.write_frame(helper.stdin, b"D", piece)
    helper.stdin.flush()
    assert helper.receive(1)["result"] == {"stored": True}
    status = Path(f"/proc/{helper.process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert peak < 32 << 20


def test_probe_of_another_interpreter(start: Any, look: Any, tmp_path: Path) -> None:
    helper = start()
    python = interpreter("3.9", look)
    facts = helper.ask("probe", {"python": python})
    assert facts["python"].startswith("3.9.")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such thing >&2\nexit 3\n")
    broken.chmod(0o755)
    for path in (str(broken), "/nonexistent/python3"):
        error = helper.refuse("probe", {"python": path})
        assert error["code"] == "python-missing"
        assert path in error["message"]


# --- runners, by interpreters that are none


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def verified(made: Any, python: str) -> Any:
    artifact = {
        "format": "frozen_pb",
        "precision": "fp32",
        "status": "verified",
        "path": "saved/deep/model.pb",
        "runtime": "tf_frozen",
        "inputs": [],
        "outputs": [],
    }
    return made(artifacts=[artifact], python=python)


def alive(pid_file: Path) -> bool:
    state = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    return state.exists() and state.read_text().split(") ")[1][0] != "Z"


def test_the_end_of_input_kills_a_runner_and_all_that_it_started(
    start: Any, made: Any, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.pid", tmp_path / "two.pid"
    python = script(tmp_path / "python", f"sleep 1000 & echo $! >{two}\necho $$ >{one}\nexec sleep 1000\n")
    helper, release = start(), verified(made, python)
    release.stage(helper)
    helper.send("selftest", release.named)
    while not (one.exists() and one.read_text()):
        time.sleep(0.01)
    assert alive(one)
    assert alive(two)
    began = time.monotonic()
    assert helper.close() == 0
    assert time.monotonic() - began < 5
    assert not alive(one)
    assert not alive(two)
    start().ask("open_app", {"app": "cam", "who": "next", "mode": "write"})


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("echo boom >&2; exit 3\n", "runner-died", "exit status 3"),
        ("kill -9 $$\n", "runner-died", "SIGKILL (out of memory?)"),
        ("echo no frames here\n", "runner-died", "exit status 0"),
    ],
)
def test_a_runner_that_dies_is_a_result(
    start: Any, made: Any, tmp_path: Path, text: str, code: str, words: str
) -> None:
    helper, release = start(), verified(made, script(tmp_path / "python", text))
    release.stage(helper)
    result = helper.ask("selftest", release.named)
    (artifact,) = result["artifacts"]
    assert (result["passed"], artifact["ok"], artifact["code"]) == (False, False, code)
    assert words in artifact["error"]
    if "boom" in text:
        assert artifact["stderr"] == "boom\n"


def test_what_a_dead_runner_leaves_behind_is_killed(start: Any, made: Any, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    python = script(tmp_path / "python", f"sleep 1000 <&- >&- 2>&- & echo $! >{pid}\nexit 3\n")
    helper, release = start(), verified(made, python)
    release.stage(helper)
    assert "exit status 3" in helper.ask("selftest", release.named)["artifacts"][0]["error"]
    assert not alive(pid)


def test_a_missing_python_is_a_result(start: Any, made: Any) -> None:
    helper, release = start(), verified(made, "/nonexistent/python3")
    release.stage(helper)
    assert helper.ask("selftest", release.named)["artifacts"][0]["code"] == "python-missing"
    assert helper.refuse("infer", {"app": "cam", "release": release.id}, b"x")["code"] == "python-missing"


def test_a_runner_that_says_nothing_is_killed_in_time(program: Path, tmp_path: Path) -> None:
    from edgefreeze.device.child import Runner
    from edgefreeze.device.errors import DeviceError

    pid = tmp_path / "pid"
    python = script(tmp_path / "python", f"echo $$ >{pid}\nexec sleep 1000\n")
    with pytest.raises(DeviceError) as caught:
        Runner(python, str(program), 1, greeting_s=0.3)
    assert caught.value.code == "runner-timeout"
    assert not alive(pid)


def test_a_runner_answers_and_ends_with_its_input(program: Path) -> None:
    from edgefreeze.device.child import Runner
    from edgefreeze.device.errors import DeviceError

    with Runner(sys.executable, str(program), 1, greeting_s=20) as runner:
        assert runner.spawn_ns > 0
        with pytest.raises(DeviceError) as caught:
            runner.call("load", {}, 20)
        assert caught.value.code == "runtime-failed"
        assert "KeyError" in caught.value.message
        assert "Traceback" in caught.value.more["trace"]
        runner._stdin.close()
        assert runner._process.wait(10) == 0


def test_a_runner_that_was_killed_for_its_time_is_dead_for_the_next_question(program: Path) -> None:
    from edgefreeze.device.child import Runner
    from edgefreeze.device.errors import DeviceError

    with Runner(sys.executable, str(program), 1, greeting_s=20) as runner:
        os.kill(runner.pid, signal.SIGSTOP)
        codes = []
        for _ in range(3):
            with pytest.raises(DeviceError) as caught:
                runner.call("load", {}, 0.2)
            codes.append(caught.value.code)
        assert codes == ["runner-timeout", "runner-died", "runner-died"]


def test_a_runner_that_announces_more_than_fits_has_broken_the_protocol(
    program: Path, tmp_path: Path
) -> None:
    from edgefreeze.device.child import Runner
    from edgefreeze.device.errors import DeviceError

    boasts = tmp_path / "boasts.py"
    boasts.write_text(
        f"import sys, time\nsys.path.insert(0, {str(program)!r})\nfrom edgefreeze.device import protocol\n"
        "out = sys.stdout.buffer\nout.write(protocol.MAGIC)\n"
        "for number, size in ((1, 0), (2, protocol.MAX_BLOB + 1)):\n"
        '    protocol.write_message(out, {"id": number, "ok": True, "result": {}, "blob": size})\n'
        "time.sleep(60)\n"
    )
    python = script(tmp_path / "python", f"exec {sys.executable} {boasts}\n")
    with Runner(python, str(program), 1, greeting_s=20) as runner:
        with pytest.raises(DeviceError, match="a blob of 2147483649 bytes") as caught:
            runner.infer(b"x", 5)
        assert caught.value.code == "runner-died"
