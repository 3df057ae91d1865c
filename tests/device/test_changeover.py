"""The application's service around a switch: told, looked at, and the device back where it was if not well."""

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

QUIET = {
    "restart": [],
    "restart_timeout_s": 5.0,
    "health": [],
    "health_url": None,
    "successes": 1,
    "period_s": 0.05,
    "deadline_s": 5.0,
}


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def switch(helper: Any, release: Any, **plan: Any) -> dict[str, Any]:
    result: dict[str, Any] = helper.ask("activate", ask(release, **plan))
    return result


def ask(release: Any, **plan: Any) -> dict[str, Any]:
    return {**release.named, "allow_unverified": True, "service": {**QUIET, **plan}}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the hook was told, a line each."""
    return tmp_path / "told"


@pytest.fixture
def hook(tmp_path: Path, told: Path) -> list[str]:
    lines = f'echo "$EDGEFREEZE_APP $EDGEFREEZE_RELEASE $(readlink $EDGEFREEZE_CURRENT)" "$@" >>{told}\n'
    return [script(tmp_path / "hook", lines), "a b", "$(touch /tmp/never)"]


def staged(start: Any, made: Any, hook: list[str]) -> tuple[Any, Any, Any]:
    """A helper, the release that runs (with the hook), and one that is staged."""
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.stage(helper)
    switch(helper, one, restart=hook)
    two.stage(helper)
    return helper, one, two


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_hook_is_told_after_the_switch_without_a_shell(
    start: Any, made: Any, hook: list[str], told: Path, root: Path, look: Any
) -> None:
    helper, one, two = staged(start, made, hook)
    assert switch(helper, two, restart=hook)["active"] == two.id
    assert lines(told) == [
        f"cam {r.id} releases/{r.id} a b $(touch /tmp/never)" for r in (one, two)
    ]  # fmt: skip
    assert look.current(root) == two.id
    events = [e["event"] for e in helper.ask("history", {"app": "cam"})["entries"]]
    assert events == ["trial", "activated", "trial", "activated"]
    assert helper.ask("rollback", {"app": "cam"})["release"] == one.id
    assert lines(told)[-1].startswith(f"cam {one.id} releases/{one.id}")


def test_switching_to_what_is_active_tells_nobody(start: Any, made: Any, hook: list[str], told: Path) -> None:
    helper, one, _ = staged(start, made, hook)
    assert switch(helper, one, restart=hook)["changed"] is False
    assert len(lines(told)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo no luck >&2; exit 3\n", ("exit status 3", "no luck")),
        ("sleep 100 & sleep 100\n", ("took longer than 0.5 s",)),
        ("kill -9 $$\n", ("SIGKILL",)),
        ("yes\n", ("took longer than 0.5 s",)),
    ],
)
def test_a_hook_that_fails_brings_the_old_release_back(
    start: Any, made: Any, hook: list[str], told: Path, root: Path, look: Any, tmp_path: Path, text: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    helper, one, two = staged(start, made, hook)
    broken = [script(tmp_path / "broken", text)]
    # Where it is no matter of time, a busy machine has as much as it takes.
    limit_s = 0.5 if "longer" in words[0] else 30.0
    error = helper.refuse("activate", ask(two, restart=broken, restart_timeout_s=limit_s))
    assert error["code"] == "hook-failed"
    assert all(word in error["message"] for word in words), error["message"]
    assert len(error["message"]) < 1000
    assert look.current(root) == one.id
    assert lines(told)[-1].startswith(f"cam {one.id} releases/{one.id}")
    recovered = helper.ask("history", {"app": "cam"})["entries"][-1]
    assert (recovered["event"], recovered["release"], recovered["previous"]) == ("recovered", one.id, two.id)
    # It was no fault of the release: with a hook that works it goes on.
    assert switch(helper, two, restart=hook)["active"] == two.id


def test_a_command_that_is_not_there(start: Any, made: Any, hook: list[str]) -> None:
    helper, _, two = staged(start, made, hook)
    error = helper.refuse("activate", ask(two, restart=["/nowhere/at/all"]))
    assert error["code"] == "hook-failed"
    assert "No such file" in error["message"]


def test_health_needs_successes_in_a_row(start: Any, made: Any, hook: list[str], tmp_path: Path) -> None:
    helper, _, two = staged(start, made, hook)
    counted = tmp_path / "counted"
    # Fails at the first and the third try.
    text = f"echo x >>{counted}; case $(wc -l <{counted}) in 1|3) exit 1;; esac\n"
    switch(helper, two, health=[script(tmp_path / "health", text)], successes=3)
    assert len(lines(counted)) == 6
    rows = [e["successes"] for e in helper.events if e["kind"] == "service" and e["step"] == "health"]
    assert rows == [0, 1, 0, 1, 2, 3]


def test_what_is_not_well_in_time_goes_back(
    start: Any, made: Any, hook: list[str], root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = staged(start, made, hook)
    sick = script(tmp_path / "health", "echo still starting; exit 1\n")
    started = time.monotonic()
    error = helper.refuse("activate", ask(two, restart=hook, health=[sick], deadline_s=2))
    assert time.monotonic() - started < 20
    assert error["code"] == "health-failed"
    assert "still starting" in error["message"]
    assert look.current(root) == one.id


def test_health_over_http(start: Any, made: Any, hook: list[str], root: Path, look: Any) -> None:
    answers = [503, 200, 200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/health"
    try:
        helper, one, two = staged(start, made, hook)
        assert switch(helper, two, health_url=url, successes=2)["active"] == two.id
    finally:
        server.shutdown()
        server.server_close()
    error = helper.refuse("activate", ask(one, health_url=url, deadline_s=0.3))
    assert error["code"] == "health-failed"
    assert "refused" in error["message"]
    assert look.current(root) == two.id


def test_an_answer_that_is_no_http_is_not_well_yet(
    start: Any, made: Any, hook: list[str], root: Path, look: Any
) -> None:
    """Something else listens until the service does; and a port that is none."""
    server = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.getsockname()[1]}/"

    def answer() -> None:
        for said in (
            b"SSH-2.0-x\r\n",
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
            b"HTTP/1.0 200 OK\r\n\r\n",
        ):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(said)

    threading.Thread(target=answer, daemon=True).start()
    with server:
        helper, one, two = staged(start, made, hook)
        assert switch(helper, two, health_url=url, successes=1)["active"] == two.id
    error = helper.refuse("activate", ask(one, health_url="http://127.0.0.1:port/", deadline_s=0.3))
    assert error["code"] == "health-failed"
    assert "nonnumeric port" in error["message"]
    assert look.current(root) == two.id


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["its head", "its body"])
def test_an_answer_that_drips_does_not_outlast_the_deadline(
    start: Any, made: Any, hook: list[str], root: Path, look: Any, head: bytes
) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            for _ in range(300):
                connection.sendall(b"x")
                time.sleep(0.05)

    threading.Thread(target=answer, daemon=True).start()
    with server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        helper, one, two = staged(start, made, hook)
        started = time.monotonic()
        error = helper.refuse("activate", ask(two, health_url=url, deadline_s=1.0))
        assert time.monotonic() - started < 8
    assert error["code"] == "health-failed"
    assert "no whole answer within" in error["message"]
    assert look.current(root) == one.id


def test_going_back_that_fails_too_is_loud(
    start: Any, made: Any, hook: list[str], root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = staged(start, made, hook)
    script(Path(hook[0]), "exit 9\n")
    error = helper.refuse("activate", ask(two, restart=[script(tmp_path / "b", "exit 3\n")]))
    assert error["code"] == "rollback-failed"
    assert "exit status 3" in error["message"]
    assert "exit status 9" in error["message"]
    assert look.current(root) == one.id
    assert helper.ask("history", {"app": "cam"})["entries"][-1]["event"] == "hook-failed"


def test_a_first_release_that_is_not_well_leaves_nothing_active(
    start: Any, made: Any, root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one = start(), made()
    one.stage(helper)
    error = helper.refuse("activate", ask(one, restart=[script(tmp_path / "b", "exit 1\n")]))
    assert error["code"] == "hook-failed"
    assert look.current(root) is None


def until(true: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def watchers(root: Path, release: str = "") -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                b"watch" in words
                and str(root).encode() in words
                and (not release or release.encode() in words)
            ):
                found.add(int(entry.name))
    return found


def test_the_watcher_goes_back_when_all_else_is_dead(
    program: Path, start: Any, made: Any, hook: list[str], told: Path, root: Path, look: Any, tmp_path: Path
) -> None:
    """The helper is killed in mid-trial, its runner of hooks too: the watcher outlives both."""
    helper, one, two = staged(start, made, hook)
    started = tmp_path / "started"
    slow = script(tmp_path / "slow", f"echo $$ >{started}\nsleep 100\n")
    helper.send("activate", ask(two, restart=[slow], restart_timeout_s=0.3, deadline_s=0.3))
    # Killed before the hook's own deadline.
    until(started.exists)
    os.kill(helper.process.pid, signal.SIGKILL)
    assert look.current(root) == two.id
    (watcher,) = watchers(root, two.id)
    # The test does not wait for the margin: the same program with an earlier deadline takes over as well.
    os.kill(watcher, signal.SIGKILL)
    subprocess.run(
        [
            sys.executable, "-I", str(program), "watch", "--root", str(root), "--app", "cam", "--release",
            two.id, "--deadline", "0.5",
        ],
        check=True,
        timeout=30,
    )  # fmt: skip
    assert look.current(root) == one.id
    assert lines(told)[-1].startswith(f"cam {one.id} releases/{one.id}")
    entry = start().ask("history", {"app": "cam"})["entries"][-1]
    assert (entry["event"], entry["release"], entry["who"]) == ("recovered", one.id, "dead-man switch")


def test_the_watcher_leaves_what_was_confirmed_alone(
    program: Path, start: Any, made: Any, hook: list[str], root: Path, look: Any
) -> None:
    helper, _, two = staged(start, made, hook)
    switch(helper, two, restart=hook)
    assert not watchers(root)  # what is confirmed needs none
    assert look.current(root) == two.id


def test_no_watcher_stays_where_nothing_is_on_trial(
    start: Any, made: Any, hook: list[str], root: Path, tmp_path: Path
) -> None:
    helper, one, two = staged(start, made, hook)
    broken = [script(tmp_path / "broken", "exit 3\n")]
    assert helper.refuse("activate", ask(two, restart=broken))["code"] == "hook-failed"
    assert not watchers(root)
    switch(helper, one, restart=hook)  # is active already
    assert not watchers(root)
    untested = made(content=b"three")
    assert helper.refuse("activate", ask(untested, restart=hook))["code"] == "no-release"
    assert not watchers(root)


def test_a_connection_lost_on_trial_goes_back_at_once(
    start: Any, made: Any, hook: list[str], told: Path, root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = staged(start, made, hook)
    sick = script(tmp_path / "health", "exit 1\n")
    helper.send("activate", ask(two, restart=hook, health=[sick], deadline_s=60))
    until(lambda: look.current(root) == two.id)
    helper.close()
    until(lambda: look.current(root) == one.id)
    until(lambda: lines(told)[-1].startswith(f"cam {one.id} releases/{one.id}"))


def test_recover_after_a_reboot(
    program: Path, start: Any, made: Any, hook: list[str], root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = staged(start, made, hook)
    slow = script(tmp_path / "slow", "sleep 100\n")
    helper.send("activate", ask(two, restart=[slow], restart_timeout_s=50))
    until(lambda: look.current(root) == two.id)
    for pid in watchers(root):
        os.kill(pid, signal.SIGKILL)
    os.kill(helper.process.pid, signal.SIGKILL)
    done = subprocess.run(
        [sys.executable, "-I", str(program), "recover", "--root", str(root)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert f"cam: went back from the trial of {two.id}" in done.stdout
    assert look.current(root) == one.id


@pytest.mark.parametrize(
    "wrong",
    [
        {"restart": "systemctl restart x"},
        {"health_url": "file:///etc/passwd"},
        {"successes": 0},
        {"shell": 1},
    ],
)
def test_a_plan_that_is_none(start: Any, made: Any, wrong: dict[str, Any]) -> None:
    helper, one = start(), made()
    one.stage(helper)
    assert helper.refuse("activate", ask(one, **wrong))["code"] == "protocol"
