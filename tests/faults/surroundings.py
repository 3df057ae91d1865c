"""Devices, accounts, clocks and shells that are not as one would wish."""

from __future__ import annotations

import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from edgefreeze import deployment

from . import connection, filesystems
from .cases import Attempt, Case, Kind, impatient, linking_copy, shipped
from .server import Server
from .world import Site, World

HOMES = {
    "space": "my board", "quotes": "a'b\"c", "dollar": "$HOME `id` $(id)", "unicode": "Gerät-платa-板",
    "dash": "-rf", "dots": "...", "backslash": "a\\nb", "glob": "*?[x]", "long": "x" * 200, "hash": "#a;b&c|d",
    "percent": "%s%n%d", "tilde": "~root",
}  # fmt: skip
LOCALES = ("C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1", "")
UMASKS = ("000", "022", "077", "777")
PYTHONS = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
NOISE = {
    "text": b"Welcome to the board!\n", "escape": b"\x1b]0;title\x07\x1b[2J\n", "zeros": b"\0" * 100, "json": b'{"need": true}\n',
    "magic": b"edgefreeze-bootstrap-1 \n", "long": b"noise " * 5000, "endless": b"",
}  # fmt: skip
FORCED = ("/bin/false", "/bin/true", "/bin/cat", "echo no shell here", "sleep 20", "internal-sftp", "yes")
CLOCKS = ("@1970-01-01 00:00:10", "@2099-12-31 23:59:00", "+0 x1000", "-40d", "@2038-01-19 03:14:00")
HOST_CLOCKS = (0.0, 10.0, 4_102_444_740.0, -5.0)
FAKETIME = "/usr/lib/*-linux-gnu/faketime/libfaketime.so.1"


def wrapper(site: Site, line: str) -> str:
    """A "python" that is this shell line; "$@" are its arguments."""
    script = site.folder / "python3"
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    return str(script)


def each(*places: str, seeds: tuple[int, ...] = (0, 1)) -> list[tuple[str, int]]:
    """Each place with each seed."""
    return [(place, seed) for place in places for seed in seeds]


def _account_places(world: World) -> list[tuple[str, int]]:
    places = [f"locale/{number}" for number in range(len(LOCALES))]
    places += [f"umask/{mask}" for mask in UMASKS] + [f"home/{name}" for name in HOMES]
    places += ["environment/empty", "environment/hostile", "stdin/closed"]
    return each(*places, seeds=(0, 1, 2, 3))


def _account(case: Case, site: Site) -> Attempt:
    """The account's own settings; the plain ship has them as well, but for the umask."""
    what, name = case.place.split("/")
    if what == "locale":
        os.environ.update(LANG=LOCALES[int(name)], LC_ALL=LOCALES[int(name)], PYTHONUTF8="0")
    elif what == "environment":
        line = f'exec env -i {sys.executable} "$@"'
        if name == "hostile":
            bad = "PYTHONPATH=/nowhere PYTHONSTARTUP=/nowhere PYTHONHOME=/nowhere TMPDIR=/nowhere PATH=/nowhere HOME=/"
            line = f'exec /usr/bin/env {bad} {sys.executable} "$@"'
        site.python = wrapper(site, line)
    elif what == "stdin":
        site.python = wrapper(site, f'exec {sys.executable} "$@" 2>&-')
    elif what == "home":
        folder = site.folder / HOMES[name]
        folder.mkdir()
        site.root = site.root.rename(folder / "device")
    else:
        before = os.umask(int(name, 8))
        site.stack.callback(os.umask, before)
        failure = shipped(site)
        os.umask(before)
        return Attempt(failure)
    return Attempt(shipped(site))


def _noexec(case: Case, site: Site) -> Attempt:
    folder = filesystems.mounted(site, "none", "-t", "tmpfs", "-o", "mode=700,size=40m," + case.place)
    shutil.copytree(site.root, folder / "device", symlinks=True, copy_function=linking_copy())
    site.root = folder / "device"
    return Attempt(shipped(site))


def _shell_places(world: World) -> list[tuple[str, int]]:
    noises = [f"noise/{name}" for name in NOISE]
    return each(*noises, *(f"forced/{number}" for number in range(len(FORCED))), "sftp/none")


def _shell(case: Case, site: Site) -> Attempt:
    """A server of its own, whose login shell or forced command says or does something else."""
    what, name = case.place.split("/")
    if what == "noise":
        script = site.folder / "shell"
        (site.folder / "noise").write_bytes(NOISE[name])
        say = f"cat {site.folder}/noise" if name != "endless" else "yes noise"
        script.write_text(f'#!/bin/sh\n{say}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
        script.chmod(0o755)
        options = f"ForceCommand {script}\n"
    else:
        options = "" if what == "sftp" else f"ForceCommand {FORCED[int(name)]}\n"
    server = Server.start(site.folder / "own-sshd", options)
    assert server is not None
    site.stack.callback(server.stop)
    server.configure(site.folder)
    site.over_ssh = True
    with impatient(site):
        return Attempt(shipped(site))


def _dropbear(case: Case, site: Site) -> Attempt:
    server = Server.start_dropbear(site.folder / "dropbear")
    site.stack.callback(server.stop)
    server.configure(site.folder)
    site.over_ssh = True
    return Attempt(shipped(site))


def _host_key(case: Case, site: Site) -> Attempt:
    server = site.world.server
    assert server is not None
    other = "board " + (site.world.key.with_suffix(".pub")).read_text()
    good = f"board {server.host_key}\n"
    known = {"unknown": "", "changed": other, "revoked": good + f"@revoked * {server.host_key}\n"}
    known |= {"garbled": good[:-20] + "\n", "other-host": good.replace("board", "bored")}
    server.configure(site.folder, known=known[case.place])
    site.over_ssh = True
    failure = shipped(site)
    assert failure is not None, "a wrong host key was taken"
    return Attempt(failure)


@cache
def pythons() -> dict[str, str]:
    """Interpreters of this machine by version."""
    found = {}
    for version in PYTHONS:
        candidates = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
        program = str(candidates[0]) if candidates else shutil.which(f"python{version}")
        if program and ".pyenv/shims" not in program:
            found[version] = program
    return found


def _machine_places(world: World) -> list[tuple[str, int]]:
    versions = [f"python/{version}" for version in pythons()]
    return each("machine/linux32", "python/none", "python/directory", "python/garbage", *versions)


def _machine(case: Case, site: Site) -> Attempt:
    """Another architecture as uname tells it; another Python, or what is none."""
    what, name = case.place.split("/")
    if what == "machine":
        site.python = wrapper(site, f'exec setarch {name} {sys.executable} "$@"')
    else:
        odd = {"none": "/nowhere/python3", "directory": "/usr"}
        site.python = odd.get(name) or pythons().get(name) or wrapper(site, "head -c 1000 /dev/urandom")
    with impatient(site):
        site.program = "true"
        return Attempt(shipped(site))


def faketime() -> str | None:
    """Where libfaketime is."""
    return next((str(p) for p in Path("/").glob(FAKETIME[1:])), None)


def _clock_places(world: World) -> list[tuple[str, int]]:
    device = [f"device/{number}" for number in range(len(CLOCKS))] if faketime() else []
    return each(*device, *(f"host/{number}" for number in range(len(HOST_CLOCKS))), seeds=(0, 1, 2, 3))


def _clock(case: Case, site: Site) -> Attempt:
    """device: by libfaketime, the monotonic clock too, since with that left alone it makes an absolute sleep
    last for decades; host: this machine's clock is wrong while it signs."""
    what, number = case.place.split("/")
    if what == "host":
        real = deployment.time
        deployment.time = SimpleNamespace(time=lambda: HOST_CLOCKS[int(number)], monotonic=time.monotonic)  # type: ignore[assignment]
        site.stack.callback(setattr, deployment, "time", real)
    else:
        fake = f"LD_PRELOAD={faketime()} FAKETIME='{CLOCKS[int(number)]}'"
        site.python = wrapper(site, f'exec env {fake} {sys.executable} "$@"')
    return Attempt(shipped(site))


def _lacks_dropbear() -> str | None:
    if shutil.which("dropbear") is None:
        return "dropbear is not installed"
    return filesystems.cannot_mount() or (
        None if Path("~/.ssh").expanduser().is_dir() else "there is no ~/.ssh"
    )


KINDS = [
    Kind("account", _account_places, _account),
    Kind("mount-options", lambda world: each("noexec", "noexec,nosuid,nodev,noatime", "strictatime,sync"), _noexec,
         filesystems.cannot_mount),
    Kind("login-shell", _shell_places, _shell, connection.lacks),
    Kind("dropbear", lambda world: each("plain", seeds=(0, 1, 2, 3)), _dropbear, _lacks_dropbear),
    Kind("host-key", lambda world: each("unknown", "changed", "revoked", "garbled", "other-host"), _host_key,
         connection.lacks),
    Kind("machine", _machine_places, _machine),
    Kind("clock", _clock_places, _clock),
]  # fmt: skip
