"""Whom a device trusts, asked and changed over its channel. The policy is the device's own: whoever may log
in may change it, and its history says who did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgefreeze.deployment import who
from edgefreeze.documents import Trusted
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.operate import Ask, entries, events, text
from edgefreeze.release import signing
from edgefreeze.ship.admission import Trust
from edgefreeze.transport.client import Helper, connect


def show(device: Device, ask: Ask) -> Trusted:
    """The policy of a device, its signers, and who changed any of it."""
    with connect(device, ask) as helper:
        return _shown(helper, device, helper.request("trust"))


def add(device: Device, key: Path, ask: Ask) -> Trusted:
    """Enrol a public key. Raises Failure sign-key."""
    return _change(device, "trust_add", {"key": signing.read_public(key)}, ask)


def remove(device: Device, fingerprint: str, ask: Ask) -> Trusted:
    """Enrol a key no more: its fingerprint ("SHA256:…"), or the first characters of it.

    Raises Failure untrusted where there is no such signer, usage where several begin so.
    """
    with connect(device, ask) as helper:
        known = list(Trust.of(helper.request("trust"), helper.where).signers)
        fitting = [f for f in known if f.startswith(fingerprint)]
        if len(fitting) != 1:
            raise Failure(
                "usage" if fitting else "untrusted",
                f"{device.name}: {len(fitting) or 'no'} signers begin with '{fingerprint}'",
                expected=" or ".join(known) or "a signer that is enrolled; none is",
                found=fingerprint,
                next="edgefreeze trust list",
            )
        helper.request("trust_remove", {"fingerprint": fitting[0], "who": who()})
        return _shown(helper, device, helper.request("trust"))


def decide(device: Device, policy: str, ask: Ask) -> Trusted:
    """Take signed releases only ("require"), or unsigned ones too ("allow-unsigned")."""
    return _change(device, "trust_policy", {"policy": policy}, ask)


def _change(device: Device, op: str, args: dict[str, Any], ask: Ask) -> Trusted:
    with connect(device, ask) as helper:
        helper.request(op, {**args, "who": who()})
        return _shown(helper, device, helper.request("trust"))


def _shown(helper: Helper, device: Device, found: dict[str, Any]) -> Trusted:
    trust = Trust.of(found, helper.where)
    return {
        "device": device.name,
        "policy": trust.policy,
        "signers": [{"fingerprint": f, "comment": c} for f, c in trust.signers.items()],
        "ignored_lines": trust.ignored_lines,
        "verifier": text(found.get("verifier"), 60),
        "folder": text(found.get("folder"), 1024),
        "entries": events(entries(helper, found, "entries")),
    }
