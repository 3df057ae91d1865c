"""Content, runtimes and releases on their way in: nothing becomes active."""

from typing import Dict, List

from edgefreeze.device import (
    checks,
    manifest,
    protocol,
    sshsig,
    trees,
)
from edgefreeze.device.admission import Parcel, admit
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.requests import APP, Operation, Request, Result, takes
from edgefreeze.device.session import Session


def _missing(session: Session, request: Request) -> Result:
    absent, partial = session.store.missing((row[0], row[1]) for row in request.args["digests"])
    return {"missing": absent, "partial": partial}


def _put(session: Session, request: Request) -> Result:
    sha256, size = request.args["sha256"], request.args["bytes"]
    offset = request.args.get("offset", 0)
    if offset + request.blob_bytes != size:
        raise DeviceError(
            "protocol", "offset and blob are not the file's size", size, offset + request.blob_bytes
        )
    passing = request.args.get("passing", False)
    return {"stored": session.store.put(sha256, size, request.blob, offset, passing)}


def _commit(session: Session, request: Request) -> Result:
    return {"files": session.store.commit()}


def _has_tree(session: Session, request: Request) -> Result:
    with storage("looking for a runtime"):
        return {"present": session.trees.has(request.args["id"])}


def _tree(session: Session, request: Request) -> Result:
    built = session.trees.build(request.args["id"], request.args["files"], request.progress("verify"))
    return {"built": built}


def _prepare(session: Session, request: Request) -> Result:
    session.trees.prepare(request.args["runtime"], request.args["id"])
    return {"prepared": session.trees.prepared()}


def _open_app(session: Session, request: Request) -> Result:
    """To read: what opening to write would tell, of an app that need not be there; nothing is locked or put
    right."""
    name = request.args["app"]
    recovered: List[str] = []
    app = session.app(name)
    if request.args["mode"] == "write":
        app, recovered = session.open(name, request.args["who"])
    known = dict(session.trust.describe(), highest=session.trust.highest(name))
    return dict(app.where(), recovered=recovered, trust=known)


def _stage(session: Session, request: Request) -> Result:
    args = request.args
    app = session.opened(args["app"])
    try:
        data, envelope = args["manifest"].encode("utf-8"), args["envelope"].encode("utf-8")
    except UnicodeEncodeError:
        raise DeviceError("bad-manifest", "the manifest or the envelope is no text", "UTF-8") from None
    binding = manifest.parse_binding(args["binding"])
    parcel = Parcel(data, envelope, args.get("signature"))
    brought = {name: r["tree"] for name, r in binding["runtimes"].items() if r["tree"] is not None}
    verdict, enrolled = admit(app, parcel, brought, args.get("enrol", False))
    for runtime in binding["runtimes"].values():
        if runtime["tree"] is not None:
            trees.require_tree(session.trees, runtime["tree"])
    progress = request.progress("verify")
    release, known = app.releases.stage(data, envelope, binding, progress, parcel.signature)
    app.releases.mark_passing(release, args.get("passing", False) and not known)
    return {"release": release, "known": known, "signed": verdict.text, "enrolled": enrolled}


def _drop_passing(session: Session, request: Request) -> Result:
    session.opened(request.args["app"]).drop_passing()
    return {}


OPERATIONS: Dict[str, Operation] = {
    "missing": Operation(
        _missing, takes({"digests": checks.list_of(checks.row(checks.digest, checks.size))})
    ),
    "put": Operation(
        _put,
        takes(
            {"sha256": checks.digest, "bytes": checks.size}, {"offset": checks.size, "passing": checks.flag}
        ),
        checks.MAX_SIZE,
    ),
    "commit": Operation(_commit, takes({})),
    "has_tree": Operation(_has_tree, takes({"id": checks.digest})),
    "tree": Operation(_tree, takes({"id": checks.digest, "files": trees.check_listing})),
    "prepare": Operation(_prepare, takes({"runtime": checks.text(64, protocol.NAME), "id": checks.digest})),
    "open_app": Operation(
        _open_app,
        takes({"app": checks.name, "who": checks.line, "mode": checks.one_of("read", "write")}),
    ),
    "stage": Operation(
        _stage,
        takes(
            {
                "app": checks.name,
                "manifest": checks.text(protocol.MAX_JSON),
                "envelope": checks.text(protocol.MAX_JSON),
                "binding": checks.dict_of(checks.anything),
            },
            {
                "signature": checks.text(sshsig.MAX_SIGNATURE),
                "enrol": checks.flag,
                "passing": checks.flag,
            },
        ),
    ),
    "drop_passing": Operation(_drop_passing, takes(APP)),
}
