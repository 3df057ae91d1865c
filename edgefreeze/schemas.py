"""JSON Schemas, made from the types in the code: of the project's TOML files, for editors; of the documents
that commands print with --json, for the scripts that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from edgefreeze import documents, inventory, targets
from edgefreeze.accuracy import Accuracy
from edgefreeze.benchmark.comparing import Compared
from edgefreeze.benchmark.gates import Judgement
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.benchmark.store import Kept
from edgefreeze.bug_report import BugReport
from edgefreeze.deployment import Deployment
from edgefreeze.difference.bisecting import Bisection
from edgefreeze.difference.verifying import Comparison
from edgefreeze.doctor.case import Finding
from edgefreeze.exporting import Exported
from edgefreeze.freezing import Frozen
from edgefreeze.inspection.report import Inspection
from edgefreeze.preparing import Preparation
from edgefreeze.types import Artifact

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NUMBER = 1
"""`schema` of every document."""


class Diagnosis(TypedDict):
    """What the doctor found."""

    device: str
    target: str
    checks: list[Finding]


class Release(TypedDict):
    """A release that was built, in the folder `path`."""

    release: str
    path: str
    signer: str | None
    """Fingerprint of the key that signed it; none: it is unsigned."""
    cached: bool
    """An earlier build was taken over."""
    artifacts: list[Artifact]
    """All that were asked for; one that is not in the release has no `path`."""
    golden: str
    """Where the golden inputs came from."""
    accuracy: list[Accuracy]
    peak_bytes: int
    """Memory of the worker, at most."""
    seconds: dict[str, float]
    """By stage."""


class Results(TypedDict):
    """Kept results, oldest first."""

    results: list[Kept]


class ResultShown(TypedDict):
    """A kept result, as it is stored."""

    result: DuelResult


class ResultsRecovered(TypedDict):
    """Results that a device had kept of runs that were cut."""

    results: list[DuelResult]


class TargetShown(TypedDict):
    """A target with every default filled in; `origins`: key to the file that it comes from."""

    target: targets.Target
    origins: dict[str, str]


DOCUMENTS: Mapping[str, type] = {
    "init": documents.Begun,
    "doctor": Diagnosis,
    "prepare": Preparation,
    "deploy": Deployment,
    "build": Release,
    "freeze": Frozen,
    "export": Exported,
    "inspect": Inspection,
    "verify": Comparison,
    "bisect": Bisection,
    "devices": documents.Devices,
    "devices add": documents.DeviceAdded,
    "devices remove": documents.DeviceRemoved,
    "devices discover": documents.Discovered,
    "device recover-at-boot": documents.RecoversAtBoot,
    "device purge": documents.Purged,
    "bench": DuelResult,
    "compare": Compared,
    "results list": Results,
    "results show": ResultShown,
    "results export": documents.ResultExported,
    "results recover": ResultsRecovered,
    "status": documents.Status,
    "run": documents.Run,
    "rollback": documents.Switch,
    "pin": documents.Pinned,
    "unpin": documents.Pinned,
    "history": documents.History,
    **{f"trust {n}": documents.Trusted for n in ("list", "add", "remove", "require", "allow-unsigned")},
    "release pack": documents.Packed,
    "release unpack": documents.Unpacked,
    "release show": documents.Packed,
    "release helper": documents.HelperFile,
    "targets list": documents.TargetLines,
    "targets show": TargetShown,
    "targets check": documents.TargetFiles,
    "targets new": documents.TargetWritten,
    "targets schema": documents.TargetSchema,
    "completion": documents.Completion,
    "bug-report": BugReport,
}
"""`command` of a document to the type of its fields."""

BESIDE: Mapping[str, Mapping[str, type]] = {
    "prepare": {"bytes_sent": int, "bytes_needed": int},
    "inspect": {"written": list[str]},
    "bench": {"result_schema": int, "runs": str, "gates": list[Judgement], "batches": list[dict[str, Any]]},
}
"""Fields that a document has beside those of its type. `result_schema` is the `schema` of bench's result;
`batches` has the fields of each measurement of a sweep (--batch 1,8), of which the document is the first."""


def target() -> dict[str, Any]:
    """Of a target's file. What one that extends another leaves out is required of one that does not."""
    schema = _flat(targets.TargetFile)
    required = schema.pop("required")
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    return {"$schema": DRAFT, "title": "A target of edgefreeze", **schema}


def config() -> dict[str, Any]:
    """Of edgefreeze.toml."""
    return {"$schema": DRAFT, "title": "edgefreeze.toml", **_flat(inventory.ConfigFile)}


def printed() -> dict[str, Any]:
    """Of what any command prints with --json: one that succeeded, by its `command`, or the error."""
    kinds = dict.fromkeys(DOCUMENTS.values())
    further = [kind for beside in BESIDE.values() for kind in beside.values()]
    made, definitions = msgspec.json.schema_components(
        [*kinds, *further, Error], ref_template="#/$defs/{name}"
    )
    known = dict(zip(kinds, made, strict=False))
    beside = iter(made[len(kinds) :])
    variants = []
    for command, kind in DOCUMENTS.items():
        own = definitions[known[kind]["$ref"].rpartition("/")[2]]
        fields = {name: schema for name, schema in own["properties"].items() if name != "schema"}
        fields |= {name: next(beside) for name in BESIDE.get(command, ())}
        variants.append(_document(command, True, fields))
    failed = _document(None, False, {"error": made[-1], "log": {"type": ["string", "null"]}})
    head = {"$schema": DRAFT, "title": "What edgefreeze prints with --json"}
    return {**head, **_or_null({"anyOf": [*variants, failed], "$defs": definitions})}


def _or_null(schema: Any) -> Any:
    """A number that JSON does not have (NaN, an infinity) is null in a document."""
    if isinstance(schema, list):
        return [_or_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _or_null(part) for key, part in schema.items()}
    return {**made, "type": ["number", "null"]} if made.get("type") == "number" else made


class Error(TypedDict):
    """What failed."""

    code: str
    """One of the stable codes."""
    message: str
    expected: str | None
    found: str | None
    device_state: str | None
    """What the device runs now."""
    retry_safe: bool | None
    next: str | None
    """The next command."""


def _document(command: str | None, ok: bool, fields: dict[str, Any]) -> dict[str, Any]:
    head = {
        "schema": {"const": NUMBER},
        "command": {"type": "string"} if command is None else {"const": command},
        "ok": {"const": ok},
    }
    made = {"type": "object", "properties": {**head, **fields}, "required": [*head, *fields]}
    return made if command is None else {"title": f"edgefreeze {command}", **made}


def _flat(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A type's schema with the type itself at the top."""
    made = msgspec.json.schema(kind)
    definitions = made.pop("$defs")
    top: dict[str, Any] = definitions.pop(kind.__name__)
    top.pop("title", None)
    return {**top, "$defs": definitions}
