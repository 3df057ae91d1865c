"""What a release is made of, as JSON from outside: the manifest, the envelope around it, the binding to
this device. Checked completely before anything is done with it."""

import hashlib
import re
from typing import Any, Dict, List, Set

from edgefreeze.device import checks
from edgefreeze.device.checks import Check, Invalid
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.files import parse_json
from edgefreeze.device.trees import conflicting_path

SCHEMA = 1
PASSING = "passing"
"""The mark of a release that is here to be measured only (releases.py)."""
RESERVED = (
    "manifest.json",
    "envelope.json",
    "envelope.sig",
    "binding.json",
    "selftest.json",
    "preferred.json",
    "service.json",
    "golden",
    "engines",
    PASSING,
)
"""Names in a release folder that its files cannot have."""
GOLDEN = "golden/golden.npz"
ENGINES = "engines"
"""The folder of a release in which the device keeps what it builds of recipes (engines.py)."""
RUNTIME_NAME = checks.text(32, re.compile(r"[a-z][a-z0-9_]*"), "a runtime's module name")

_tensor_name = checks.text(512, None, "a tensor's name")
_tensor = checks.record(
    {
        "name": _tensor_name,
        "tensor": _tensor_name,
        "dtype": checks.name,
        "shape": checks.optional(checks.list_of(checks.optional(checks.integer(-1)), 32)),
    }
)
check_artifact: Check = checks.record(
    {
        "format": checks.name,
        "precision": checks.name,
        "status": checks.one_of("verified", "unverified", "refused"),
    },
    {
        "path": checks.optional(checks.safe_path),
        "runtime": checks.optional(RUNTIME_NAME),
        "inputs": checks.list_of(_tensor, 1000),
        "outputs": checks.list_of(_tensor, 1000),
        "init_ops": checks.list_of(_tensor_name, 1000),
        "tolerance": checks.number(0, 1e6),
        "tolerances": checks.dict_of(checks.number(0, 1e6), _tensor_name),
        "signature": checks.optional(_tensor_name),
        "providers": checks.list_of(checks.name, 10),
        "built_there": checks.flag,
    },
)
_check_manifest = checks.record(
    {
        "schema": checks.integer(SCHEMA, SCHEMA),
        "app": checks.name,
        "target": checks.name,
        "artifacts": checks.list_of(check_artifact, 100, least=1),
        "files": checks.list_of(
            checks.record({"path": checks.safe_path, "sha256": checks.digest, "bytes": checks.size}), least=1
        ),
    },
    {"requires": checks.dict_of(checks.line)},
)
_check_envelope = checks.record(
    {
        "schema": checks.integer(SCHEMA, SCHEMA),
        "manifest_sha256": checks.digest,
        "created": checks.line,
        "sequence": checks.integer(),
        "golden": checks.record({"sha256": checks.digest, "bytes": checks.size, "cases": checks.integer()}),
    },
    {"runtimes": checks.dict_of(checks.digest, RUNTIME_NAME)},
)
check_binding: Check = checks.record(
    {
        "python": checks.absolute_path,
        "runtimes": checks.dict_of(
            checks.record(
                {"tree": checks.optional(checks.digest)},
                {"paths": checks.list_of(checks.text(4096), 100)},
                closed=True,
            ),
            RUNTIME_NAME,
        ),
    }
)


def release_id(manifest: bytes) -> str:
    """The digest of a manifest exactly as it was received."""
    return hashlib.sha256(manifest).hexdigest()


def parse_manifest(data: bytes) -> Dict[str, Any]:
    """A checked manifest. Raises bad-manifest."""
    try:
        manifest: Dict[str, Any] = parse_json(data, _check_manifest, "manifest")
        _require_consistent(manifest)
    except Invalid as error:
        raise bad_manifest(error) from None
    return manifest


def parse_envelope(data: bytes, release: str) -> Dict[str, Any]:
    """A checked envelope around the release of this id. Raises bad-manifest."""
    try:
        envelope: Dict[str, Any] = parse_json(data, _check_envelope, "envelope")
        if envelope["manifest_sha256"] != release:
            raise Invalid("envelope.manifest_sha256", release, envelope["manifest_sha256"])
    except Invalid as error:
        raise bad_manifest(error) from None
    return envelope


def parse_binding(binding: Any) -> Dict[str, Any]:
    """A checked binding. Raises bad-manifest."""
    try:
        check_binding(binding, "binding")
        for name, runtime in binding["runtimes"].items():
            for path in runtime.get("paths", []):
                check = checks.absolute_path if runtime["tree"] is None else _path_in_tree
                check(path, "binding.runtimes.%s.paths" % name)
    except Invalid as error:
        raise bad_manifest(error) from None
    assert isinstance(binding, dict)
    return binding


def _path_in_tree(value: Any, where: str) -> None:
    if value != "":
        checks.safe_path(value, where)


def bad_manifest(error: Invalid) -> DeviceError:
    """The error of a manifest, envelope or binding that is none."""
    return DeviceError("bad-manifest", str(error), error.expected, error.found, field=error.where)


def _require_consistent(manifest: Dict[str, Any]) -> None:
    paths = [entry["path"] for entry in manifest["files"]]
    conflict = conflicting_path(paths)
    if conflict is not None:
        raise Invalid("manifest.files", "each path once, none beneath a file", conflict)
    for path in paths:
        if path.split("/")[0] in RESERVED:
            raise Invalid("manifest.files", "none of the names " + ", ".join(RESERVED), path)
    folders: Set[str] = set(paths)
    for path in paths:
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    seen = set()
    for index, artifact in enumerate(manifest["artifacts"]):
        where = "manifest.artifacts[%d]" % index
        key = (artifact["format"], artifact["precision"])
        if key in seen:
            raise Invalid(where, "each format and precision once", "%s:%s" % key)
        seen.add(key)
        path = artifact.get("path")
        if path is not None and path not in folders:
            raise Invalid(where + ".path", "a path among the files", path)
        if is_provable(artifact) and (path is None or artifact.get("runtime") is None):
            raise Invalid(where, "path and runtime of an artifact that is to be proved", "null")


def is_provable(artifact: Dict[str, Any]) -> bool:
    """Whether an artifact must reproduce the golden outputs here: it did so on the host, or it is built here,
    of a recipe that did (`built_there`), so that this is its only proof and the stronger one."""
    status = artifact["status"]
    return bool(status == "verified" or (status == "unverified" and artifact.get("built_there")))


def provable(manifest: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The artifacts that must reproduce the golden outputs here."""
    return [artifact for artifact in manifest["artifacts"] if is_provable(artifact)]


def key(artifact: Dict[str, Any]) -> str:
    """How an artifact is named to a person: its format, and its precision where that is not fp32."""
    bare = artifact["precision"] == "fp32"
    return str(artifact["format"]) if bare else "%(format)s:%(precision)s" % artifact


def find_artifact(manifest: Dict[str, Any], wanted: str) -> Dict[str, Any]:
    """The artifact named "format:precision" that could run, or of a bare "format" the fp32 one, or where
    there is none the first. Raises no-artifact."""
    form, _, precision = wanted.partition(":")
    able = [
        artifact
        for artifact in manifest["artifacts"]
        if artifact["format"] == form and artifact.get("path") and artifact.get("runtime")
    ]
    exact = [artifact for artifact in able if artifact["precision"] == (precision or "fp32")]
    for artifact in exact or ([] if precision else able):
        assert isinstance(artifact, dict)
        return artifact
    there = sorted("%s:%s" % (a["format"], a["precision"]) for a in manifest["artifacts"] if a.get("path"))
    raise DeviceError("no-artifact", "the release has no %s that could run" % wanted, there, wanted)
