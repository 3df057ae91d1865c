"""Signed deployments from the command line, to this machine as a device."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import sshsig

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def new_key(file: Path) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", str(file)], check=True
    )
    return sshsig.parse_key(file.with_suffix(".pub").read_text())[0].fingerprint


def deploy(run: Run, model: Path, *options: str | Path) -> Result:
    return run("deploy", model, "--app", "demo", "--format", "tflite", "--no-bench", "--json", *options)


def test_from_the_first_signed_release_on_the_device_takes_no_others(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, releases: dict[str, Any], tmp_path: Path
) -> None:
    a, b = (releases[name].release.id for name in ("small_a", "small_b"))
    alice, mallory = tmp_path / "alice", tmp_path / "mallory"
    fingerprint, other = new_key(alice), new_key(mallory)

    assert deploy(edgefreeze_, small / "small_a").json["signer"] is None
    signed = deploy(edgefreeze_, small / "small_b", "--sign", alice)
    assert (signed.status, signed.json["signer"], signed.json["active"]) == (0, fingerprint, b)
    log = edgefreeze_("history", "--app", "demo", "--json").json["entries"]
    assert [(e["event"], e["detail"].split()[0]) for e in log] == [
        ("activated", "unsigned"), ("signer-enrolled", fingerprint), ("activated", "signed"),
    ]  # fmt: skip

    for options, found in (((), "no signature"), (("--sign", mallory), other)):
        refused = deploy(edgefreeze_, small / "small_a", *options)
        error = refused.json["error"]
        assert (refused.status, error["code"], error["found"]) == (6, "untrusted", found)
        assert fingerprint in error["expected"]
        assert error["device_state"] == f"release {b[:12]} is active there"
        assert (device / "apps" / "demo" / "current").resolve().name == b

    # The sequence rises whatever this machine's clock says, and a rollback goes back on purpose.
    before = json.loads((device / "trust" / "sequences.json").read_text())["demo"]
    Path("edgefreeze.toml").write_text(f'[signing]\nkey = "{alice}.pub"\n')
    assert deploy(edgefreeze_, small / "small_a").json["active"] == a
    assert json.loads((device / "trust" / "sequences.json").read_text())["demo"] > before
    assert edgefreeze_("rollback", "--app", "demo", "--json").json["release"] == b
    status = edgefreeze_("status", "--app", "demo", "--json").json["apps"][0]
    assert [fingerprint in r["signed"] for r in status["releases"]] == [True, True]

    # The policy is changed on the device only, and says who did it.
    assert edgefreeze_("trust", "add", mallory.with_suffix(".pub"), "--json").json["policy"] == "require"
    assert deploy(edgefreeze_, small / "small_a", "--sign", mallory).json["signer"] == other
    left = edgefreeze_("trust", "remove", other[:20], "--json").json["signers"]
    assert [s["fingerprint"] for s in left] == [fingerprint]
    Path("edgefreeze.toml").unlink()
    assert edgefreeze_("trust", "allow-unsigned", "--json").json["policy"] == "allow-unsigned"
    assert deploy(edgefreeze_, small / "small_b").json["active"] == b
    assert edgefreeze_("trust", "require", "--json").json["policy"] == "require"
    shown = edgefreeze_("trust", "list")
    assert fingerprint in shown.out
    told = edgefreeze_("trust", "list", "--json").out
    assert "signer-removed" in told


def test_a_key_that_is_none_costs_no_build(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, tmp_path: Path
) -> None:
    failed = deploy(edgefreeze_, small / "small_a", "--sign", tmp_path / "none")
    assert (failed.status, failed.json["error"]["code"]) == (3, "sign-key")
    assert not device.exists()


def test_a_release_as_one_file(
    releases: dict[str, Any], device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    alice = tmp_path / "alice"
    fingerprint = new_key(alice)
    built = releases["small_a"].release
    file, out, helper = tmp_path / "a.pack", tmp_path / "out", tmp_path / "edgefreeze-device.pyz"
    packed = edgefreeze_("release", "pack", built.folder, file, "--sign", alice, "--json").json
    assert (packed["release"], packed["signer"], packed["runtimes"]) == (built.id, fingerprint, [])
    assert edgefreeze_("release", "show", file, "--json").json["release"] == built.id
    assert fingerprint in edgefreeze_("release", "show", file).out
    assert edgefreeze_("release", "unpack", file, "-o", out).status == 0
    assert (out / "manifest.json").read_text() == built.manifest_text
    assert edgefreeze_("release", "helper", "-o", helper, "--json").json["bytes"] == helper.stat().st_size
    import sys

    done = subprocess.run(
        [sys.executable, "-I", str(helper), "install", str(file), "--root", str(device), "--enrol"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (device / "apps" / "demo" / "current").resolve().name == built.id
    assert edgefreeze_("status", "--app", "demo", "--json").json["release"] == built.id
