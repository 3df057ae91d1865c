"""The parsers, each as a function of bytes that returns, or raises what no parser may raise; and where to start."""

from __future__ import annotations

import atexit
import base64
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgefreeze import inventory, targets, toml
from edgefreeze.device import checks, files, manifest, pack, protocol, sshsig, state, tensors, trust
from edgefreeze.device.checks import Invalid
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from tests.device.conftest import Made

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpoaWhpaGloaWhpaGloaWhpaGloaWhpaGloaWhpaGlo"
RELEASE = Made()


def _frames(data: bytes) -> None:
    """A host's or a device's stream: greeting, messages, blobs."""
    stream = io.BytesIO(data)
    try:
        protocol.skip_to_magic(stream)
        while True:
            message = protocol.read_message(stream)
            for _ in protocol.read_blob(lambda: protocol.read_frame(stream), protocol.blob_size(message)):
                pass
    except protocol.ProtocolError:
        pass


def _manifest(data: bytes) -> None:
    try:
        parsed = manifest.parse_manifest(data)
    except DeviceError as error:
        assert error.code == "bad-manifest", error.code
        json.dumps(error.as_dict())
    else:
        assert all(protocol.is_safe_path(entry["path"]) for entry in parsed["files"])


def _envelope(data: bytes) -> None:
    try:
        manifest.parse_envelope(data, RELEASE.id)
    except DeviceError as error:
        assert error.code == "bad-manifest", error.code


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="edgefreeze-fuzzing-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _state(data: bytes) -> None:
    """state.json and history.jsonl: never is anything raised."""
    for name in ("state.json", "history.jsonl"):
        (_folder() / name).write_bytes(data)
    memory = state.Memory(str(_folder()))
    assert memory.read()["phase"] in (state.EMPTY, state.TRIAL, state.COMMITTED)
    assert all(isinstance(entry["event"], str) for entry in memory.history())


def _trusted(data: bytes) -> None:
    """Policy, signers, sequences: what cannot be read trusts nobody."""
    (_folder() / "trust").mkdir(exist_ok=True)
    for name in ("policy.json", "allowed_signers", "sequences.json", "copies.json"):
        (_folder() / "trust" / name).write_bytes(data)
    known = trust.Trust(str(_folder()))
    assert known.policy() in (trust.REQUIRE, trust.ALLOW)
    assert len(known.describe()["signers"]) <= data.count(b"ssh-")
    assert known.highest("cam") >= 0


def _signature(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (sshsig.parse_signature, sshsig.parse_key):
        try:
            parse(text)
        except sshsig.Malformed:
            pass
    armoured = (
        f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(data).decode()}\n-----END SSH SIGNATURE-----\n"
    )
    try:
        sshsig.parse_signature(armoured)
    except sshsig.Malformed:
        pass


def _pack(data: bytes) -> None:
    try:
        reader = pack.Reader(io.BytesIO(data))
        for _, _, pieces in reader.contents(pack.wanted(reader.meta())):
            for _ in pieces:
                pass
    except DeviceError as error:
        assert error.code in ("bad-pack", "bad-manifest", "digest-mismatch"), error.code


def _toml(data: bytes) -> None:
    """The two kinds of files that a person writes."""
    text = data.decode("utf-8", "replace")
    for schema in (inventory.ConfigFile, targets.TargetFile):
        try:
            found = toml.parse(text, "a.toml", schema)
            if isinstance(found, targets.TargetFile):
                targets.check(found, "a.toml")
        except Failure as failure:
            assert failure.code in ("config-syntax", "config-key", "config-value"), failure.code
            assert "a.toml" in failure.message


def _tensors(data: bytes) -> None:
    try:
        tensors.decode(data, 1 << 20)
    except tensors.TensorError:
        pass


def _json(data: bytes) -> None:
    try:
        files.parse_json(data, checks.anything, "a file")
    except Invalid as error:
        assert len(str(error)) < 500


@dataclass(frozen=True)
class Parser:
    """A parser, and inputs that it takes or nearly takes."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _stream() -> list[bytes]:
    out = io.BytesIO()
    out.write(b"Welcome!\n" + protocol.MAGIC)
    protocol.write_message(out, {"id": 1, "ok": True, "result": {}, "blob": 5})
    protocol.write_blob(out, b"12345")
    protocol.write_message(out, {"id": 2, "event": {"kind": "beat"}})
    return [out.getvalue()]


def _packs() -> list[bytes]:
    texts = RELEASE.text.encode(), protocol.canonical(RELEASE.envelope)
    contents = {
        entry["sha256"]: (entry["bytes"], lambda d=data: io.BytesIO(d))
        for entry, data in zip(RELEASE.manifest["files"], RELEASE.files.values(), strict=True)
    }
    golden = RELEASE.envelope["golden"]
    contents[golden["sha256"]] = (golden["bytes"], lambda: io.BytesIO(RELEASE.golden))
    found = []
    for signature in (None, "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"):
        out = io.BytesIO()
        pack.write(out, pack.Meta(*texts, signature, None), contents)
        found.append(out.getvalue())
    return found


def _arrays() -> list[bytes]:
    import numpy as np

    return [tensors.encode({"x": np.zeros((1, 3), np.float32), "s": np.array([b"a"], object)})]


def _states() -> list[bytes]:
    entry = {"time": "t", "event": "e", "release": None, "previous": None, "who": "w", "detail": None}
    return [json.dumps(value).encode() for value in (state.committed("0" * 64, None), entry)]


PARSERS = {
    "frames": Parser(_frames, _stream),
    "manifest": Parser(_manifest, lambda: [RELEASE.text.encode()]),
    "envelope": Parser(_envelope, lambda: [protocol.canonical(RELEASE.envelope)]),
    "state": Parser(_state, _states),
    "trust": Parser(
        _trusted,
        lambda: [b'{"schema": 1, "unsigned": "allow"}', b'{"cam": 7}', f'signer namespaces="{sshsig.NAMESPACE}" {KEY} me\n'.encode()],
    ),
    "signature": Parser(_signature, lambda: [f"{KEY} me@desk\n".encode(), b"SSHSIG" + bytes([0, 0, 0, 1]) + bytes(40)]),
    "pack": Parser(_pack, _packs),
    "toml": Parser(_toml, lambda: [file.read_bytes() for file in sorted(targets.built_in().glob("*.toml"))]),
    "tensors": Parser(_tensors, _arrays),
    "json": Parser(_json, lambda: [b'{"a": [1, {"b": null}]}']),
}  # fmt: skip
