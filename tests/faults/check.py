"""The one check in which every case ends."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

from edgefreeze.device import sshsig, verification
from edgefreeze.device.child import Runner
from edgefreeze.errors import Failure

from .world import SECRET, Site

BUDGET = 256 * 1024
"""Bytes that may be left over on a device after a plain ship, histories and caches included."""
LEAVES_S = 20.0
"""A helper whose host is gone has left after so long."""
NOT_THERE = {"unreachable", "auth-failed", "host-key-unknown", "host-key-changed", "host-key-revoked"}
TRUST = ("allowed_signers", "policy.json", "sequences.json", "copies.json", "history.jsonl", "lock")


class Broken(AssertionError):
    """What must never be, is."""


def require(good: object, what: str) -> None:
    """Raise Broken unless good."""
    if not good:
        raise Broken(what)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def after(site: Site, failure: BaseException | None) -> str:
    """After the fault: `current` is whole and runs, and the error said what the device runs. The release."""
    release = site.current()
    known = {r.id for r in (site.world.a, site.world.b)}
    require(release in known, f"current names {release}")
    assert release is not None
    require_whole(site, release)
    if not any(path.startswith(("runtimes/", "cache/")) for path in site.excused):
        require_runs(site, release)
    require_named(failure)
    return release


def require_named(failure: BaseException | None) -> None:
    """An error is one of ours, names the device's state, and tells no secret."""
    if failure is None:
        return
    require(isinstance(failure, Failure), f"not one of our errors: {failure!r}")
    assert isinstance(failure, Failure)
    require(
        failure.code not in ("internal", "device-internal"), f"{failure.code}: {failure} {failure.detail}"
    )
    require(failure.device_state, f"{failure.code} does not name the device's state: {failure.message}")
    whole = " ".join(str(v) for v in vars_of(failure).values())
    require(SECRET not in whole, "a secret stands in the error")
    require("\x1b" not in whole, "an escape stands in the error")


def vars_of(failure: Failure) -> dict[str, Any]:
    """All that the error says."""
    fields = ("message", "expected", "found", "device_state", "next", "detail")
    return {name: getattr(failure, name) for name in fields}


def require_whole(site: Site, release: str) -> None:
    """Every byte is as the manifest says, whose digest is the id; and the signature is one of it."""
    folder = site.app / "releases" / release
    data = (folder / "manifest.json").read_bytes()
    require(hashlib.sha256(data).hexdigest() == release, "the manifest is not the release's")
    envelope = (folder / "envelope.json").read_bytes()
    golden = json.loads(envelope)["golden"]["sha256"]
    listed = [(f["path"], f["sha256"]) for f in json.loads(data)["files"]] + [("golden/golden.npz", golden)]
    for path, expected in listed:
        file = folder / path
        if file.relative_to(site.root).as_posix() not in site.excused:
            require(digest(file) == expected, f"{path} of the active release is damaged")
    signature = folder / "envelope.sig"
    if site.variant.signed and signature.relative_to(site.root).as_posix() not in site.excused:
        text = signature.read_text("ascii")
        found = verification.require_signed(envelope, text, str(site.folder), None)
        mine = sshsig.parse_key(site.world.key.with_suffix(".pub").read_text())[0]
        require(found.key == mine, "the active release is signed by somebody else")


def require_runs(site: Site, release: str) -> None:
    """The release passes its self-test, in a runner that is started here."""
    folder = site.app / "releases" / release
    parsed = json.loads((folder / "manifest.json").read_text())
    binding = json.loads((folder / "binding.json").read_text())
    artifact = parsed["artifacts"][0]
    tree = site.root / "runtimes" / binding["runtimes"]["tflite"]["tree"]
    with Runner(binding["python"], str(site.world.folder / "true.pyz"), 1, 20.0) as runner:
        args = {
            "artifact": artifact, "path": str(folder / artifact["path"]), "threads": 1,
            "golden": str(folder / "golden/golden.npz"), "sys_paths": [str(tree)],
            "pycache": str(site.folder / "pycache"),
        }  # fmt: skip
        runner.call("load", args, 20.0)
        require(runner.call("check", {}, 20.0)["ok"], "the active release does not pass its self-test")


def converged(site: Site, allow: tuple[str, ...] = ()) -> None:
    """After a plain ship: B is active and nothing is left over. allow: files that this case may leave."""
    world = site.world
    require(site.current() == world.b.id, "the plain ship did not end with B")
    require_whole(site, world.b.id)
    require_runs(site, world.b.id)
    state = site.state()
    require(
        (state["phase"], state["active"], state["previous"]) == ("COMMITTED", world.b.id, world.a.id),
        f"the state is {state}",
    )
    expected = set(world.reference[site.variant.name])
    if site.enrolled:
        expected |= {f"trust/{n}" for n in TRUST} | {f"apps/cam/releases/{world.b.id}/envelope.sig"}
    left = site.listing() - expected
    if site.service is not None:
        left -= {f"apps/cam/releases/{world.b.id}/service.json"}
    # Without a policy the signers' file alone means that signatures are required: a cut may leave it so.
    lacking = expected - site.listing() - {"trust/policy.json"}
    require(not left - set(allow), f"left over: {sorted(left)[:5]}")
    require(not lacking, f"lacking: {sorted(lacking)[:5]}")
    for folder in ("staging", "trash"):
        require(not any((site.app / folder).iterdir()), f"{folder} is not empty")
    require_private(site)


def require_private(site: Site) -> None:
    """Nobody else may read anything, no secret is in any file, and there is not more than the budget."""
    total = 0
    for path in [site.root, *site.root.rglob("*")]:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        require(not found.st_mode & 0o077, f"{path.name} can be read by others: {found.st_mode:o}")
        if stat.S_ISREG(found.st_mode):
            total += found.st_size // max(1, found.st_nlink)
            require(SECRET.encode() not in path.read_bytes(), f"a secret stands in {path}")
    limit = BUDGET + sum(len(data) for data, _ in site.world.programs.values())
    require(total < limit, f"{total} bytes are left on the device")


def wait_until_left(site: Site) -> None:
    """The helpers of this device have ended: nobody has the app's lock or works in its folder."""
    deadline = time.monotonic() + LEAVES_S
    while helpers := processes(site):
        require(time.monotonic() < deadline, f"a helper is still there: {helpers}")
        time.sleep(0.02)


def processes(site: Site, command: bytes = b"serve") -> list[str]:
    """Command lines of the helpers that are about this device's folder; watchers stay longer."""
    mark = os.fsencode(str(site.root))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in line and b"\0" + command + b"\0" in line:
                found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found
