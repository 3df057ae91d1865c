"""What a release must be before anything of it is staged, whichever way it came: sound, this app's, signed by
somebody whom the device trusts, and not older than what it has run."""

from typing import Dict, NamedTuple, Optional, Tuple

from edgefreeze.device import manifest
from edgefreeze.device.app import App
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.trust import FIRST_USE, Verdict
from edgefreeze.device.verification import untrusted


class Parcel(NamedTuple):
    """A release as it arrives: manifest and envelope as they were signed, and the signature, if any."""

    manifest: bytes
    envelope: bytes
    signature: Optional[str]


def admit(app: App, parcel: Parcel, brought: Dict[str, str], enrol: bool) -> Tuple[Verdict, bool]:
    """(why the release is taken, whether its signer was enrolled just now).

    brought: runner module to tree, of those that came with it: a signature covers the code that runs the
    model as well, by the trees' ids. enrol: where nobody has decided whom to trust, trust this signer from
    now on. Raises bad-manifest, untrusted, replayed, store-io.
    """
    release = manifest.release_id(parcel.manifest)
    parsed = manifest.parse_manifest(parcel.manifest)
    if parsed["app"] != app.name:
        raise DeviceError("bad-manifest", "the manifest is another app's", app.name, parsed["app"])
    envelope = manifest.parse_envelope(parcel.envelope, release)
    verdict = app.trust.judge(parcel.envelope, parcel.signature, app.releases.scratch())
    if verdict.signer is None:
        return verdict, False
    signed = envelope.get("runtimes", {})
    if brought != signed:
        raise untrusted("the runtimes are not those that were signed", _brief(signed), _brief(brought))
    if release != app.memory.current():
        app.trust.require_newer(app.name, envelope["sequence"])
    if not enrol or app.trust.policy() != FIRST_USE:
        return verdict, False
    enrolled = app.trust.enrol(
        verdict.signer, app.who, app.who, "signer-enrolled", "the first that signed, for app %s" % app.name
    )
    return app.trust.judge(parcel.envelope, parcel.signature, app.releases.scratch()), enrolled


def _brief(runtimes: Dict[str, str]) -> str:
    return ", ".join("%s %s" % (name, tree[:12]) for name, tree in sorted(runtimes.items())) or "none"
