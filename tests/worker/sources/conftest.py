"""Models that are made on the spot, and the replies to loading and freezing all of them: three processes make
them, two load and freeze (one of them with Keras 2), one that saw no original compares."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgefreeze.worker import client
from tests.worker.sources import cases

HERE = Path(__file__).parent
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


def python(script, *arguments, env=None, cwd=None):
    """Run a script of this folder in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        capture_output=True,
        env=client.environment(env),
        cwd=cwd,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with v1/, v2/ and keras2/."""
    folder = tmp_path_factory.mktemp("sources")
    for name, script, env in (
        ("v1", "make_v1.py", {}),
        ("v2", "make_v2.py", {}),
        ("keras2", "make_keras2.py", LEGACY),
    ):
        (folder / name).mkdir()
        python(script, folder / name, env=env)
    return folder


@pytest.fixture(scope="session")
def answers(made, tmp_path_factory):
    """(replies, differences) by case: see check.py and fresh.py."""
    out = tmp_path_factory.mktemp("answers")
    replies = {}
    folders = {}
    for process, env in (("plain", {}), ("legacy", LEGACY)):
        requests = {}
        for name, case in cases.ALL.items():
            if case.legacy == (process == "legacy"):
                folders[name] = str(out / name)
                requests[name] = {
                    "path": str(made / case.path),
                    "out": folders[name],
                    "options": case.options,
                    "feed": case.feed,
                }
        (out / f"{process}.json").write_text(json.dumps(requests))
        python("check.py", out / f"{process}.json", out / f"{process}-replies.json", env=env, cwd=made / "v2")
        replies |= json.loads((out / f"{process}-replies.json").read_text())
    (out / "replies.json").write_text(json.dumps(replies))
    (out / "folders.json").write_text(json.dumps(folders))
    python("fresh.py", out / "replies.json", out / "folders.json", out / "differences.json")
    return replies, json.loads((out / "differences.json").read_text())
