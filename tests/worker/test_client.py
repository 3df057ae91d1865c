"""The worker process, seen from the host: its end, however it comes, is a result or a Failure."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from edgefreeze.errors import CODES, Failure
from edgefreeze.worker import client

pytestmark = pytest.mark.process


@pytest.fixture
def instead_of_tensorflow(tmp_path):
    """A function: what `import tensorflow` shall do in the worker; gives the environment for that."""

    def inject(code):
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'tensorflow':\n"
            + textwrap.indent(code + "\n", " " * 12)
            + "sys.meta_path.insert(0, Finder())\n"
        )
        return {"PYTHONPATH": str(tmp_path)}

    return inject


def failure_of(env, **options):
    with pytest.raises(Failure) as caught:
        client.run({"op": "convert"}, env=env, **options)
    assert caught.value.code in CODES
    return caught.value


def test_without_tensorflow_it_says_what_to_install(instead_of_tensorflow):
    failure = failure_of(
        instead_of_tensorflow(
            "raise ModuleNotFoundError(\"No module named 'tensorflow'\", name='tensorflow')"
        )
    )
    assert failure.code == "worker-no-tensorflow"
    assert failure.next == "pip install 'edgefreeze[convert]'"
    assert failure.found == "No module named 'tensorflow'"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL; the system may have run out of memory"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),  # real-time: it has no name
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os._exit(0)", "exit status 0"),
    ],
)
def test_a_crash_names_signal_or_status_and_keeps_the_log(instead_of_tensorflow, tmp_path, code, found):
    log = tmp_path / "logs" / "worker.log"
    env = instead_of_tensorflow(f"sys.stderr.write('last \\x1b[31mwords\\n'); sys.stderr.flush(); {code}")
    failure = failure_of(env, log=log)
    assert failure.code == "worker-crashed"
    assert failure.message == f"The process that runs TensorFlow ended unexpectedly ({found})."
    assert failure.found == f"{found}; it last said: last words"
    assert failure.detail == "last words"
    assert failure.next == f"See {log}"
    assert b"words" in log.read_bytes()


def test_prints_do_not_break_the_protocol(instead_of_tensorflow, tmp_path):
    log = tmp_path / "log"
    code = (
        "print('{\"result\": 1}'); import os; os.write(1, b'\\x00noise'); raise ImportError('broken wheel')"
    )
    failure = failure_of(instead_of_tensorflow(code), log=log)
    assert (failure.code, failure.found) == ("worker-no-tensorflow", "broken wheel")
    assert b'{"result": 1}' in log.read_bytes()
    assert b"noise" in log.read_bytes()


def test_an_error_of_its_own_is_internal_with_a_traceback(instead_of_tensorflow):
    failure = failure_of(instead_of_tensorflow("raise RuntimeError('odd')"))
    assert failure.code == "internal"
    assert "RuntimeError: odd" in failure.message
    assert "Traceback" in (failure.detail or "")


def gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


SLEEPS = (
    "import os, subprocess, time\n"
    "child = subprocess.Popen(['sleep', '60'])\n"
    "open({pids!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
    "time.sleep(60)"
)


def pids_of(path):
    while not (path.is_file() and len(path.read_text().split()) == 2):
        time.sleep(0.02)
    return [int(p) for p in path.read_text().split()]


def test_a_timeout_stops_the_worker_and_its_children(instead_of_tensorflow, tmp_path):
    pids = tmp_path / "pids"
    started = time.monotonic()
    failure = failure_of(instead_of_tensorflow(SLEEPS.format(pids=str(pids))), timeout_s=1.5)
    assert failure.code == "worker-timeout"
    assert "1.50 s" in failure.message
    assert time.monotonic() - started < 20
    assert all(gone(pid) for pid in pids_of(pids))


def test_an_interrupt_stops_the_worker_and_its_children(instead_of_tensorflow, tmp_path):
    pids = tmp_path / "pids"

    def interrupt():
        pids_of(pids)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.run({"op": "convert"}, env=instead_of_tensorflow(SLEEPS.format(pids=str(pids))))
    thread.join()
    assert all(gone(pid) for pid in pids_of(pids))


def test_the_worker_leaves_when_its_host_is_gone(instead_of_tensorflow, tmp_path):
    code = "import os, time\nopen({!r}, 'w').write(f'{{os.getpid()}} 1')\ntime.sleep(60)".format(
        str(tmp_path / "p")
    )
    host = subprocess.Popen(
        [sys.executable, "-c", "from edgefreeze.worker import client; client.run({'op': 'convert'})"],
        env=client.environment(instead_of_tensorflow(code)),
    )
    worker = pids_of(tmp_path / "p")[0]
    host.kill()
    host.wait()
    assert gone(worker)


def test_events_come_in_order_before_the_end(instead_of_tensorflow):
    events = []
    failure_of(instead_of_tensorflow("raise ImportError('x')"), on_event=events.append)
    assert events == [{"event": "stage", "name": "start"}]
