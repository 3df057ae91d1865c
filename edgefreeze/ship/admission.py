"""Whether a device will take a release, known before anything is sent. Pure; the device itself decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgefreeze.errors import Failure
from edgefreeze.release.signing import Signer
from edgefreeze.ship.plan import RuntimePlan
from edgefreeze.text import clean


class _Signer(msgspec.Struct, frozen=True):
    fingerprint: str
    kind: str
    comment: str


class _Said(msgspec.Struct, frozen=True):
    policy: str
    signers: tuple[_Signer, ...]
    highest: int = 0
    only: str = ""
    ignored_lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom a device trusts: its policy ("first-use", "require", "allow-unsigned"), fingerprints with their
    comments, the highest sequence of the app that it has run, and the one kind of key that it can verify
    without an ssh-keygen, "" where it has one; and how many lines of its list of signers it cannot read."""

    policy: str
    signers: dict[str, str]
    highest: int
    only: str = ""
    ignored_lines: int = 0

    @classmethod
    def of(cls, value: Any, where: str) -> Trust:
        """What a device said, checked and fit for a terminal. Raises Failure protocol."""
        try:
            said = msgspec.convert(value, _Said, strict=True)
        except msgspec.ValidationError as error:
            raise Failure(
                "protocol", f"{where}: whom the device trusts makes no sense: {clean(str(error), 200)}"
            ) from None
        return cls(
            policy=clean(said.policy, 40),
            signers={clean(s.fingerprint, 60): clean(s.comment, 100) for s in said.signers[:1000]},
            highest=said.highest,
            only=clean(said.only, 40),
            ignored_lines=said.ignored_lines,
        )


def next_sequence(trust: Trust, now_s: int) -> int:
    """The sequence of a release that is signed for the device now.

    Seconds since 1970 (UTC), so that releases signed by several hosts for several devices are in order
    without a counter that they share; more than the device has seen, whatever this machine's clock says.
    """
    return max(now_s, trust.highest + 1)


def trees(plans: tuple[RuntimePlan, ...], runner: Mapping[str, str]) -> dict[str, str]:
    """Runner module to the tree that it runs in, of those that are brought: what the signature covers."""
    ids = {p.choice.runtime: p.tree.id for p in plans if p.tree is not None}
    return {module: ids[runtime] for module, runtime in sorted(runner.items()) if runtime in ids}


def welcome(trust: Trust, signer: str | None) -> str:
    """Why a device takes a release by this signer (None: unsigned), as what it will do: after its name."""
    if signer is None:
        return "would take the release, which is not signed: " + (
            "nobody is enrolled there" if trust.policy == "first-use" else "its policy allows unsigned ones"
        )
    if signer in trust.signers:
        return f"would take the release: {trust.signers[signer] or signer} is enrolled there"
    if trust.policy == "first-use":
        return f"would enrol {signer}, and take only signed releases from then on (edgefreeze trust)"
    return "would take the release: its policy allows signers that are not enrolled"


def require_welcome(trust: Trust, signer: Signer | None, where: str, state: str | None) -> None:
    """Raise Failure untrusted where the device cannot verify this signer's signatures, or where its policy
    refuses the signer (None: unsigned)."""
    if signer is not None and trust.only and not signer.ed25519:
        raise Failure(
            "untrusted",
            f"{where} has no ssh-keygen, without which it verifies {trust.only} keys alone",
            expected=f"a signature by an {trust.only} key, or openssh-client on the device",
            found=f"{signer.fingerprint}, a key of another kind",
            device_state=state,
            retry_safe=True,
            next="the same command with --sign and such a key",
        )
    if trust.policy != "require" or (signer is not None and signer.fingerprint in trust.signers):
        return
    known = [f"{fingerprint} {comment}".strip() for fingerprint, comment in trust.signers.items()]
    unread = (
        f"; lines of its allowed_signers that cannot be read: {trust.ignored_lines}"
        if trust.ignored_lines
        else ""
    )
    raise Failure(
        "untrusted",
        f"{where} takes releases only that are signed by a key enrolled there",
        expected="a signature by " + (" or ".join(known) if known else "a key that is enrolled; none is"),
        found=(signer.fingerprint if signer else "no signature") + unread,
        device_state=state,
        retry_safe=True,
        next="the same command with --sign KEY" if signer is None else "edgefreeze trust add KEY.pub",
    )
