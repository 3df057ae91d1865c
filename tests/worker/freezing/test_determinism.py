"""The same model, options and versions give the same bytes: in processes that differ in all that a process can
differ in, and in two containers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgefreeze.worker import client
from tests.worker.conftest import request

pytestmark = pytest.mark.tf

ROOT = Path(__file__).parents[3]
MANY = ROOT / "tests" / "worker" / "many.py"
MODELS = {
    "several": ("tables", {"signature": "several", "freeze": {"optimize": "safe"}}),
    "norms": ("norms.keras", {"freeze": {"optimize": "max"}}),
    "sliding": ("states", {"signature": "sliding", "freeze": {"hoist_state": True}}),
    "in_a_loop": ("states", {"signature": "in_a_loop", "freeze": {"hoist_state": True, "optimize": "max"}}),
}
SLOWEST_CPU = {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def asked(models, out, backwards=False):
    """The requests, as many.py takes them; in another order they meet another state of the process."""
    names = sorted(MODELS, reverse=backwards)
    made = [request(models / MODELS[n][0], out / n, ["frozen_pb"], **MODELS[n][1]) for n in names]
    return json.dumps(made).encode()


def graphs(out, reply):
    for answer in json.loads(reply):
        assert "result" in answer, answer
    return {name: (out / name / "model.pb").read_bytes() for name in MODELS}


def in_a_process(models, tmp_path, name, *, backwards=False, **env):
    """The graphs that a process makes, in a folder, a home and a scratch of its own."""
    place = tmp_path / name
    for folder in ("home", "scratch", "cwd"):
        (place / folder).mkdir(parents=True)
    env = {"HOME": str(place / "home"), "TMPDIR": str(place / "scratch"), **env}
    done = subprocess.run(
        [sys.executable, str(MANY)],
        input=asked(models, place / "out", backwards),
        capture_output=True,
        cwd=place / "cwd",
        env=client.environment(env),
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return graphs(place / "out", done.stdout)


def test_two_processes_write_the_same_bytes(hard_models, tmp_path):
    elsewhere = tmp_path / "models of another name"
    shutil.copytree(hard_models, elsewhere)
    first = in_a_process(hard_models, tmp_path, "first", PYTHONHASHSEED="1", LANG="C", TZ="UTC")
    second = in_a_process(
        elsewhere,
        tmp_path,
        "second",
        backwards=True,
        PYTHONHASHSEED="2",
        LANG="C.UTF-8",
        TZ="Asia/Tokyo",
        OMP_NUM_THREADS="1",
        **SLOWEST_CPU,
    )
    assert first == second


@pytest.fixture
def in_a_container(lab_x86, tmp_path):
    """A function: the graphs that a container makes out of the lab's x86 image. It sees this interpreter with
    its packages and this project, read-only, and the models."""
    image = subprocess.run(
        ["docker", "container", "inspect", "--format", "{{.Config.Image}}", lab_x86.container],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    read_only = dict.fromkeys(map(str, (sys.base_prefix, sys.prefix, ROOT)))

    def run(models, name, *options, backwards=False, place="/models", **env):
        out = tmp_path / name
        out.mkdir()
        told = {k: v for k, v in client.environment(env).items() if os.environ.get(k) != v}
        done = subprocess.run(
            [
                "docker", "run", "--rm", "-i", "--network", "none", *options,
                *(part for path in read_only for part in ("-v", f"{path}:{path}:ro")),
                "-v", f"{models}:{place}:ro", "-v", f"{out}:/out",
                *(part for key, value in told.items() for part in ("-e", f"{key}={value}")),
                "--entrypoint", sys.executable, image, str(MANY),
            ],
            input=asked(Path(place), Path("/out"), backwards), capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return graphs(out, done.stdout)

    return run


@pytest.mark.slow
def test_two_containers_write_the_same_bytes(hard_models, in_a_container, tmp_path):
    first = in_a_container(hard_models, "first", "--hostname", "one", "-w", "/")
    second = in_a_container(
        hard_models, "second", "--hostname", "another", "-w", "/var/tmp", "--tmpfs", "/tmp:exec",
        "--cpuset-cpus", "0", "--memory", "6g", "--shm-size", "16m",
        backwards=True, place="/srv/other/place", PYTHONHASHSEED="7", HOME="/nowhere", LC_ALL="C.UTF-8",
        **SLOWEST_CPU,
    )  # fmt: skip
    assert first == second
    assert first == in_a_process(hard_models, tmp_path, "host")
