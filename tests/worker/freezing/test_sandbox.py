"""What a confined process cannot do, tried in one."""

import json
import socket
import subprocess
import sys

import pytest

from edgefreeze.worker.client import environment

SCRIPT = """
import json, os, resource, socket, sys
from pathlib import Path
from edgefreeze.worker import sandbox
inside, outside, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
held = sandbox.enter([inside])

def outcome(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

def reach():
    socket.create_connection(("127.0.0.1", port), timeout=5).close()

print(json.dumps({
    "held": held,
    "write inside": outcome(lambda: (inside / "a").write_text("x")),
    "remove inside": outcome((inside / "a").unlink),
    "null": outcome(lambda: Path("/dev/null").write_text("x")),
    "read": outcome((outside / "b").read_text),
    "write outside": outcome(lambda: (outside / "a").write_text("x")),
    "change outside": outcome(lambda: (outside / "b").write_text("changed")),
    "remove outside": outcome((outside / "b").unlink),
    "network": outcome(reach),
    "limits": [resource.getrlimit(k)[0] != resource.RLIM_INFINITY
               for k in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)],
}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    inside, outside = tmp_path_factory.mktemp("inside"), tmp_path_factory.mktemp("outside")
    (outside / "b").write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(inside), str(outside), str(server.getsockname()[1])],
            capture_output=True,
            env=environment(),
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout), outside


@pytest.mark.process
def test_its_own_folder_and_what_it_may_read_stay_open(outcome):
    result, _ = outcome
    for action in ("write inside", "remove inside", "null", "read"):
        assert result[action] == "done", action
    assert {"memory", "processor"} <= set(result["held"])
    assert result["limits"] == [True, True, True]


@pytest.mark.process
def test_it_writes_nowhere_else(outcome):
    result, outside = outcome
    if "files" not in result["held"]:
        pytest.skip("this kernel has no Landlock")
    for action in ("write outside", "change outside", "remove outside"):
        assert result[action] == "PermissionError", action
    assert (outside / "b").read_text() == "kept"


@pytest.mark.process
def test_it_reaches_nobody(outcome):
    result, _ = outcome
    if "network" not in result["held"]:
        pytest.skip("this system allows no network namespaces")
    assert result["network"] in ("OSError", "ConnectionRefusedError")
