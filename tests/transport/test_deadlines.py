"""Every command that talks to a device ends within its deadlines on a network that swallows everything: a host that
takes the connection and says nothing, and a link that goes dead when the helper has greeted.

The deadlines are those of edgefreeze/transport, made shorter here. That no command waits for something else, and that
none is left out, is what is shown.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edgefreeze.cli import main
from edgefreeze.device import tensors
from edgefreeze.transport import client, pyz, ssh
from tests.faults import check
from tests.faults.cases import impatient, linking_copy
from tests.faults.connection import through
from tests.faults.server import DOWN, Proxy
from tests.faults.world import Site, Variant, World

pytestmark = pytest.mark.sshd

COMMANDS: dict[str, tuple[str, ...]] = {
    "doctor": (), "deploy": ("model", "--no-bench"), "prepare": (), "verify": ("--against", "model"),
    "device purge": ("--yes",), "device recover-at-boot": ("--remove",), "bench": (),
    "results recover": (), "status": (), "run": ("--input", "in.npz", "--output", "out.npz"), "rollback": (),
    "pin": ("ab",), "unpin": ("ab",), "history": (), "trust add": ("key.pub",), "trust remove": ("SHA256:x",),
    "trust list": (), "trust require": (), "trust allow-unsigned": (),
    "release pack": ("release", "out.pack"), "targets new": ("mine",), "devices list": (),
}  # fmt: skip
"""Each with the least that it takes. What is asked of the device may be done there before the answer is swallowed, in the
home of whoever runs the tests: nothing here leaves anything outside the device's folder."""
ELSEWHERE = {"bisect"}
"""It loads the model in TensorFlow first, which takes seconds, and then goes the way of verify."""
MOST_S = 40.0
"""Less than any silence that a command would wait for if it were not told to be impatient."""
AT_ONCE = 6
ROOT = Path(main.__file__).parents[2]


def talking(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands that can be told of a device."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from talking(inner, (*path, name))
    elif {"--host", "--on", "--from-device"} & {o for p in command.params for o in p.opts}:
        yield " ".join(path)


def test_no_command_that_talks_to_a_device_is_left_out() -> None:
    assert set(talking(main.cli)) - ELSEWHERE | {"devices list"} == set(COMMANDS)


def test_the_deadlines_are_those_that_are_stated() -> None:
    (said,) = [
        " ".join(entry.split())
        for entry in (ROOT / "docs/commands.md").read_text().split("\n- ")
        if entry.startswith("No command waits for ever")
    ]
    assert f"{ssh.CONNECT_TIMEOUT_S:.0f} s for the SSH handshake" in said
    assert f"{ssh.AUTH_TIMEOUT_S:.0f} s for authentication" in said
    assert f"{client.GREETING_S:.0f} s for the helper's greeting" in said
    assert f"{client.SILENCE_S:.0f} s for the next sign of life" in said


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.make(tmp_path_factory.mktemp("deadlines") / "world")
    yield made
    made.close()


def prepare(world: World, folder: Path) -> None:
    """A working directory with what the commands name, and a device of the inventory."""
    import numpy as np

    (folder / "model").mkdir()
    (folder / "model" / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    (folder / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    (folder / "in.npz").write_bytes(tensors.encode({"x": np.zeros(1, np.float32)}))
    shutil.copy(world.key.with_suffix(".pub"), folder / "key.pub")
    shutil.copytree(world.b.folder, folder / "release")
    (folder / "edgefreeze.toml").write_text(
        f'app = "cam"\n[devices.board]\ntarget = "x86"\nhost = "board"\npython = "{sys.executable}"\n'
        f'root = "{folder}/device"\n'
    )


def equipped(world: World, folder: Path) -> Site:
    """A device that has the quick helper: while one is sent up, the server answers as often as it happens to,
    and what comes down until the greeting would be another number of bytes each time."""
    variant = Variant(signed=False, helper_there=True)
    shutil.copytree(world.base(variant), folder / "device", symlinks=True, copy_function=linking_copy())
    data, digest = world.programs["quick"]
    (folder / "device" / "helper" / f"{digest}.pyz").write_bytes(data)
    return Site(world, variant, folder / "device")


_world: World
"""For the processes that are forked: it holds a server, which cannot be sent to them."""


def run(given: tuple[int | None, str, Path]) -> dict[str, Any]:
    """One command in a process of its own. offset: of the byte from which on nothing arrives; None: of the first."""
    world, (offset, command, folder) = _world, given
    folder.mkdir()
    prepare(world, folder)
    os.chdir(folder)
    os.environ.update(XDG_STATE_HOME=str(folder / "state"), HOME=str(folder))
    site = equipped(world, folder)
    assert world.server is not None
    out, err = io.StringIO(), io.StringIO()
    with site.stack, impatient(site):
        # What only one link knows to be dead must not look like a machine that is slow.
        ssh.CONNECT_TIMEOUT_S = ssh.AUTH_TIMEOUT_S = client.GREETING_S = 1.0 if offset is None else 15.0
        pyz.build = lambda: world.programs["quick"]
        if offset is not None:
            proxy = Proxy(world.server.port, DOWN, offset, "hole")
            through(site, proxy)
            world.server.configure(folder, proxy.port, patience_s=15)
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            site.stack.callback(listener.close)
            world.server.configure(folder, listener.getsockname()[1])
        where = {"verify": "--on", "targets new": "--from-device"}.get(command, "--host")
        at = () if command == "devices list" else (where, "board")
        started = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.run([*command.split(), *COMMANDS[command], *at, "--json"])
        took = time.monotonic() - started
        struck = offset is None or proxy.struck
        check.wait_until_left(site)
    return {
        "command": command,
        "status": status,
        "took": took,
        "struck": struck,
        "out": out.getvalue(),
        "err": err.getvalue(),
    }


def greeted(world: World, folder: Path) -> int:
    """How many bytes come until the helper has greeted, from a device in a folder with a name of this length."""
    folder.mkdir()
    site = equipped(world, folder)
    site.program = "quick"
    assert world.server is not None
    probe = Proxy(world.server.port)
    with contextlib.closing(probe):
        world.server.configure(folder, probe.port, patience_s=15)
        site.over_ssh = True
        helper = site.connect()
        time.sleep(0.3)  # the proxy counts what it has passed on a moment later
        passed = probe.passed[DOWN]
        helper.close()
    return passed


@pytest.mark.parametrize("hole", ["from the start", "after the greeting"])
def test_a_command_ends_whatever_the_network_swallows(
    world: World, tmp_path: Path, hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    global _world
    _world = world
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", "none")  # put back after configure()
    # Padding may differ by some bytes; the first answer has more of them.
    offset = greeted(world, tmp_path / "00") + 16 if hole == "after the greeting" else None
    given = [(offset, command, tmp_path / f"{number:02d}") for number, command in enumerate(COMMANDS, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the tests' do not live on in a fork
        with multiprocessing.get_context("fork").Pool(AT_ONCE, maxtasksperchild=1) as pool:
            found = pool.map(run, given, chunksize=1)
    codes = {"from the start": {"unreachable"}, "after the greeting": {"device-silent"}}[hole]
    wrong = [f"{row}" for row in found if not ends_well(row, codes)]
    print(*(f"{row['command']}: {row['took']:.1f} s, exit {row['status']}" for row in found), sep="\n")
    assert not wrong, "\n".join(wrong)


def ends_well(row: dict[str, Any], codes: set[str]) -> bool:
    """In time, and it says what it is."""
    if not row["struck"] or row["took"] > MOST_S:
        return False
    document = json.loads(row["out"])
    if row["command"] == "devices list":
        return row["status"] == 0 and document["devices"][0]["state"] in codes
    if row["command"] == "doctor":
        told = document["error"]["code"] in codes or any(c["level"] == "failure" for c in document["checks"])
        return row["status"] in (1, 4) and bool(told)
    return row["status"] == 4 and document["error"]["code"] in codes
