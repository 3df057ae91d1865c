"""A release as one file: packed for a device that no cable reaches, looked into, and unpacked again. The
file's form is device/pack.py's, which reads it here as on a device."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgefreeze import documents, runtimes
from edgefreeze.device import pack as packed
from edgefreeze.device import verification
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.progress import Progress
from edgefreeze.release import signing
from edgefreeze.release.manifest import GOLDEN, SIGNATURE, Content, Release
from edgefreeze.ship import admission, provision, session
from edgefreeze.ship.plan import RuntimePlan, everything
from edgefreeze.targets import Format, Target
from edgefreeze.text import clean
from edgefreeze.transport import pyz
from edgefreeze.transport.client import connect
from edgefreeze.types import DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Runtimes to pack for a device: what it is, and what each runtime is there."""

    facts: DeviceFacts
    plans: tuple[RuntimePlan, ...]


def runtimes_for(
    device: Device,
    target: Target,
    release: Release,
    progress: Progress,
    ask: Callable[[str], str | None],
    sources: runtimes.Sources,
) -> Brought:
    """The runtimes that a device needs for a release, put together here. Raises Failure as deploy does."""
    progress.step("connect", f"connecting to {device.name}")
    with connect(device, ask, session.FIRST) as helper:
        facts = session.probe(helper)
    formats = tuple(Format.of(a.key) for a in release.artifacts)
    choices = provision.choose(formats, target, facts, progress)
    lacking = [a.key for a in release.artifacts if runtimes.table().of_format(a.format) not in choices]
    if lacking:
        raise Failure(
            "runtime-unavailable",
            f"{device.name} has nothing to run {', '.join(lacking)} in",
            next="build the release without it: --format",
        )
    return Brought(facts=facts, plans=provision.plans(release, choices, facts, progress, sources))


def pack(
    release: Release, file: Path, *, key: Path | None, brought: Brought | None, progress: Progress
) -> documents.Packed:
    """Write a release, and runtimes for it, as one file; what is in it.

    key: signs it anew; without one, the release's own signature goes along. Raises Failure sign-*, usage
    where runtimes would go along unsigned with a signed release, config-value where nothing can be written.
    """
    plans = brought.plans if brought else ()
    trees = admission.trees(plans, runtimes.table().runner)
    if key is not None:
        progress.step("sign", signing.announcement(key))
        release = signing.signed(release, key, sequence=int(time.time()), runtimes=trees)
    elif release.signature is not None and json.loads(release.envelope_text).get("runtimes", {}) != trees:
        raise Failure(
            "usage",
            "the release was signed with other runtimes than those that are to go along, or with none",
            expected="a signature that covers them",
            next="the same command with --sign KEY",
        )
    content = everything(release, plans)
    progress.step("pack", f"writing {file}", sum(c.bytes for c in content))
    meta = packed.Meta(
        release.manifest_text.encode(),
        release.envelope_text.encode(),
        release.signature,
        _runtimes(brought, trees) if brought and trees else None,
    )
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            packed.write(out, meta, {c.sha256: (c.bytes, _opener(c, progress)) for c in content})
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except (OSError, ValueError) as error:
        raise Failure("config-value", f"{file} cannot be written: {error}", found=str(file)) from None
    finally:
        part.unlink(missing_ok=True)
    return show(file)


def _opener(content: Content, progress: Progress) -> Callable[[], BinaryIO]:
    def opening() -> BinaryIO:
        progress.advance(content.bytes)
        return content.source.open("rb")

    return opening


def _runtimes(brought: Brought, trees: dict[str, str]) -> dict[str, Any]:
    listings = {p.tree.id: p.tree.listing() for p in brought.plans if p.tree is not None}
    return {
        "schema": 1,
        "machine": brought.facts.machine,
        "python": ".".join(brought.facts.python.split(".")[:2]),
        "runtimes": trees,
        "trees": {identity: listings[identity] for identity in sorted(set(trees.values()))},
    }


def show(file: Path) -> documents.Packed:
    """What is in a packed release, every byte of it read and checked.

    Raises Failure bad-pack, bad-manifest, digest-mismatch; untrusted where its signature is wrong.
    """
    with _reading(file) as reader:
        meta = reader.meta()
        for _ in reader.contents(packed.wanted(meta)):
            pass
        signer = _signer(meta)
    manifest, envelope = json.loads(meta.manifest), json.loads(meta.envelope)
    brought = meta.runtimes
    return {
        "path": str(file),
        "release": envelope["manifest_sha256"],
        "app": manifest["app"],
        "target": manifest["target"],
        "formats": [
            key if precision == "fp32" else f"{key}:{precision}"
            for key, precision in ((a["format"], a["precision"]) for a in manifest["artifacts"])
        ],
        "created": clean(envelope["created"], 40),
        "sequence": envelope["sequence"],
        "signer": signer,
        "runtimes": sorted(brought["runtimes"]) if brought else [],
        "machine": brought["machine"] if brought else None,
        "python": brought["python"] if brought else None,
        "bytes": file.stat().st_size,
    }


def _signer(meta: packed.Meta) -> str | None:
    """Whose signature it has, which is right; whether that one is trusted is for a device to say."""
    if meta.signature is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as folder:
        program = verification.ssh_keygen()
        return verification.require_signed(meta.envelope, meta.signature, folder, program).key.fingerprint


def unpack(file: Path, out: Path) -> documents.Unpacked:
    """Write a packed release as the folder that `build` would have made, whole or not at all. Runtimes stay.

    Raises Failure as show(), and config-exists where the folder is there.
    """
    if out.exists():
        raise Failure("config-exists", f"{out} is there already", expected="a new folder", found=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch) / "release"
        with _reading(file) as reader:
            meta = reader.meta()
            signer = _signer(meta)
            try:
                _write(reader, meta, folder)
            except OSError as error:  # of the folder; what is wrong with the file is no OSError
                why = error.strerror or str(error)
                raise Failure("host-io", f"{out} cannot be written: {why}", found=str(out)) from None
        try:
            folder.rename(out)
        except OSError as error:
            raise Failure("config-value", f"{out} cannot be written: {error}", found=str(out)) from None
    return {
        "path": str(out),
        "release": json.loads(meta.envelope)["manifest_sha256"],
        "signer": signer,
    }


def _write(reader: packed.Reader, meta: packed.Meta, folder: Path) -> None:
    """The reader has checked every path: none leads out of the folder or is another's folder."""
    paths: dict[str, list[str]] = {json.loads(meta.envelope)["golden"]["sha256"]: [GOLDEN]}
    for entry in json.loads(meta.manifest)["files"]:
        paths.setdefault(entry["sha256"], []).append(entry["path"])
    folder.mkdir()
    (folder / "manifest.json").write_bytes(meta.manifest)
    (folder / "envelope.json").write_bytes(meta.envelope)
    if meta.signature is not None:
        (folder / SIGNATURE).write_text(meta.signature, "ascii")
    for sha256, _, pieces in reader.contents(packed.wanted(meta)):
        targets = [folder / path for path in paths.get(sha256, ())]
        if not targets:
            continue
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        first, *others = targets
        with first.open("xb") as out:
            for piece in pieces:
                out.write(piece)
        for other in others:
            with first.open("rb") as source, other.open("xb") as copy:
                while part := source.read(1 << 20):
                    copy.write(part)


@contextmanager
def _reading(file: Path) -> Iterator[packed.Reader]:
    """A reader of the file; what the device would say of it is a Failure here."""
    try:
        with file.open("rb") as stream:
            yield packed.Reader(stream)
    except DeviceError as error:
        raise Failure(
            error.code,
            f"{file}: {clean(str(error), 300)}",
            expected=None if error.expected is None else clean(str(error.expected), 300),
            found=None if error.found is None else clean(str(error.found), 300),
        ) from None
    except OSError as error:
        raise Failure(
            "bad-pack", f"{error.filename or file}: {error.strerror}", expected="a packed release"
        ) from None


def write_helper(file: Path) -> documents.HelperFile:
    """Write the helper, the program that installs packed releases on a device, as one file."""
    data, digest = pyz.build()
    try:
        file.write_bytes(data)
    except OSError as error:
        raise Failure("config-value", f"{file} cannot be written: {error}", found=str(file)) from None
    return {"path": str(file), "bytes": len(data), "sha256": digest}
