"""The operations of the helper: one table of names, arguments and functions.

Every argument is checked before the function sees it. An operation that changes an app needs the app
opened for writing in the same session.
"""

import heapq
import os
import subprocess
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Set, Tuple

from edgefreeze.device import (
    checks,
    files,
    health,
    journal,
    manifest,
    probe,
    protocol,
    sshsig,
    state,
    trees,
    trust,
)
from edgefreeze.device.admission import Parcel, admit
from edgefreeze.device.changeover import change_over
from edgefreeze.device.duel import Duel, check_plan
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.measure import GREETING_S, Bench, choose, selftest
from edgefreeze.device.purge import purge
from edgefreeze.device.service import check_plan as check_service
from edgefreeze.device.session import Session
from edgefreeze.device.trial import check_files

MAX_INFER = 256 << 20
EVENT_EVERY_BYTES = 4 << 20
DEFAULT_TIMEOUT_S = 600.0
"""Of loading, of a self-test's artifact and of an inference, where the host names no other."""

Event = Callable[[Dict[str, Any]], None]


class Request:
    """One request: its checked arguments, its blob, and how to say what is going on."""

    def __init__(self, args: Dict[str, Any], blob: Iterator[bytes], blob_bytes: int, event: Event) -> None:
        self.args = args
        self.blob = blob
        self.blob_bytes = blob_bytes
        self.event = event
        self.reply_blob = b""

    def progress(self, kind: str) -> Callable[[int, int], None]:
        """progress(done, total) that sends an event every few megabytes, and the last."""
        sent = [0]

        def report(done: int, total: int) -> None:
            if done - sent[0] >= EVENT_EVERY_BYTES or done == total:
                sent[0] = done
                self.event({"kind": kind, "done": done, "total": total})

        return report


Result = Dict[str, Any]
Function = Callable[[Session, Request], Result]


class Operation(NamedTuple):
    """A function, its check of the arguments, and how large a blob it takes (None: none)."""

    function: Function
    check: checks.Check
    max_blob: Optional[int] = None


def _ping(session: Session, request: Request) -> Result:
    return {"protocol": protocol.PROTOCOL, "pid": os.getpid(), "root": session.root}


def _probe(session: Session, request: Request) -> Result:
    python = request.args.get("python")
    interpreter = None if python is None else _facts_of(python, session.program)
    return probe.device_facts(session.root, interpreter)


def _health(session: Session, request: Request) -> Result:
    return health.collect(session.root)


def _facts_of(python: str, program: str) -> Dict[str, Any]:
    """interpreter_facts() of another Python. Raises python-missing."""
    try:
        done = subprocess.run(
            [python, "-I", program, "facts"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=GREETING_S,
            check=True,
        )
        facts = files.parse_json(done.stdout, checks.dict_of(checks.anything), python)
        assert isinstance(facts, dict)
        return facts
    except (OSError, subprocess.SubprocessError, checks.Invalid) as error:
        stderr = getattr(error, "stderr", None) or b""
        raise DeviceError(
            "python-missing",
            "%s is no Python that can run the helper" % python,
            expected="Python 3.8 or later",
            found=str(error),
            stderr=stderr[-2000:].decode("utf-8", "replace"),
        ) from None


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


def _open_app(session: Session, request: Request) -> Result:
    name = request.args["app"]
    if request.args["mode"] == "read":
        return dict(session.existing(name).where(), recovered=[])
    app, recovered = session.open(name, request.args["who"])
    known = dict(session.trust.describe(), highest=session.trust.highest(name))
    return dict(app.where(), recovered=recovered, trust=known)


def _has_tree(session: Session, request: Request) -> Result:
    with storage("looking for a runtime"):
        return {"present": session.trees.has(request.args["id"])}


def _prepare(session: Session, request: Request) -> Result:
    session.trees.prepare(request.args["runtime"], request.args["id"])
    return {"prepared": session.trees.prepared()}


def _tree(session: Session, request: Request) -> Result:
    built = session.trees.build(request.args["id"], request.args["files"], request.progress("verify"))
    return {"built": built}


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


def _selftest(session: Session, request: Request) -> Result:
    args = request.args
    app = session.existing(args["app"])
    if args.get("recorded", False):
        known = app.releases.selftest(args["release"])
        if known is not None and known["passed"]:
            return dict(known, recorded=True)
    bench = session.bench(app, args["release"])
    result = selftest(bench, args.get("threads", 1), args.get("timeout_s", DEFAULT_TIMEOUT_S), request.event)
    if app.writable:
        app.releases.record_selftest(bench.release, result)
    return dict(result, release=bench.release, recorded=app.writable)


def _infer(session: Session, request: Request) -> Result:
    args = request.args
    bench = session.bench(session.existing(args["app"]), args.get("release"))
    artifact = choose(bench, args.get("format"))
    blob = b"".join(request.blob)
    threads, timeout_s = _how(args)
    with bench.start(artifact, threads) as runner:
        loaded = bench.load(runner, artifact, threads, timeout_s)
        result, request.reply_blob = runner.infer(blob, timeout_s)
    return dict(result, release=bench.release, format=manifest.key(artifact), version=loaded["version"])


def _load(session: Session, request: Request) -> Result:
    args = request.args
    bench = session.bench(session.existing(args["app"]), args.get("release"))
    loaded = session.trial.load(bench, args.get("format"), *_how(args))
    return dict(loaded, release=bench.release)


def _load_file(session: Session, request: Request) -> Result:
    return session.trial.load_file(request.args, *_how(request.args))


def _how(args: Dict[str, Any]) -> Tuple[int, float]:
    return args.get("threads", 1), args.get("timeout_s", DEFAULT_TIMEOUT_S)


def _call(session: Session, request: Request) -> Result:
    result, request.reply_blob = session.trial.call(b"".join(request.blob), request.args["timeout_s"])
    return result


def _unload(session: Session, request: Request) -> Result:
    session.trial.unload()
    return {}


def _bench(session: Session, request: Request) -> Result:
    args = request.args
    app = session.existing(args["app"])
    chosen = session.bench(app, args.get("release"))

    def find(release: Optional[str]) -> Bench:
        return chosen if release is None else session.bench(app, release)

    if "run" not in args:
        result = Duel(find, args["plan"], request.event).run()
        return dict(result, release=chosen.release)
    head = {"app": app.name, "release": chosen.release, "plan": args["plan"], "about": args.get("about", {})}
    written = journal.Journal(session.root, args["run"], head)
    try:
        result = Duel(find, args["plan"], request.event, written).run()
        written.event({"kind": "end"})
    finally:
        written.close()
    return dict(result, release=chosen.release)


def _bench_left(session: Session, request: Request) -> Result:
    return {"runs": journal.left(session.root)}


def _bench_read(session: Session, request: Request) -> Result:
    request.reply_blob = journal.read(session.root, request.args["run"])
    return {}


def _bench_forget(session: Session, request: Request) -> Result:
    journal.forget(session.root, request.args["run"])
    return {}


def _governor(session: Session, request: Request) -> Result:
    wanted = request.args["governor"]
    if wanted is None:
        session.governor.restore()
        return {}
    return {"before": session.governor.set(wanted)}


def _profile(session: Session, request: Request) -> Result:
    args = request.args
    bench = session.bench(session.existing(args["app"]), args.get("release"))
    artifact = choose(bench, args.get("format"))
    threads, timeout_s = _how(args)
    with bench.start(artifact, threads) as runner:
        bench.load(runner, dict(artifact, profile=True), threads, timeout_s)
        return runner.call("profile", {"calls": args["calls"]}, timeout_s)


def _activate(session: Session, request: Request) -> Result:
    args = request.args
    app = session.opened(args["app"])
    how = {name: args[name] for name in ("allow_unverified", "detail", "prefer") if name in args}
    plan = args.get("service")
    if plan is not None:
        changed = change_over(app, args["release"], plan, request.event, **how)
    else:
        changed = app.activate(args["release"], args.get("trial", False), **how)
    return dict(app.where(), changed=changed)


def _confirm(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    app.confirm()
    return app.where()


def _rollback(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    return dict(app.rollback(request.args.get("to")), **app.where())


def _discard(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    app.discard(request.args["release"])
    return app.where()


def _drop_passing(session: Session, request: Request) -> Result:
    session.opened(request.args["app"]).drop_passing()
    return {}


def _pin(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    return dict(app.where(), changed=app.pin(request.args["release"], request.args["keep"]))


def _status(session: Session, request: Request) -> Result:
    name = request.args.get("app")
    # A folder in which nothing ever was: a first deployment that failed, a model that was only measured.
    apps = [a for a in session.every_app() if not a.blank] if name is None else [session.existing(name)]
    disk = os.statvfs(session.root)
    return {
        "apps": [app.status() for app in apps],
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "store_bytes": session.store.total_bytes(),
    }


def _history(session: Session, request: Request) -> Result:
    """What happened to the app, and in between who was trusted to change it."""
    entries = session.existing(request.args["app"]).memory.history()
    return {"entries": list(heapq.merge(session.trust.history(), entries, key=lambda e: str(e["time"])))}


def _trust(session: Session, request: Request) -> Result:
    return dict(session.trust.describe(), entries=session.trust.history())


def _trust_add(session: Session, request: Request) -> Result:
    try:
        key, comment = sshsig.parse_key(request.args["key"])
    except sshsig.Malformed as error:
        raise DeviceError("untrusted", str(error)) from None
    changed = session.trust.enrol(key, comment, request.args["who"], "signer-added", "by edgefreeze trust")
    return dict(session.trust.describe(), changed=changed, fingerprint=key.fingerprint)


def _trust_remove(session: Session, request: Request) -> Result:
    session.trust.remove(request.args["fingerprint"], request.args["who"])
    return dict(session.trust.describe(), changed=True)


def _trust_policy(session: Session, request: Request) -> Result:
    changed = session.trust.policy() != request.args["policy"]
    session.trust.decide(request.args["policy"], request.args["who"])
    return dict(session.trust.describe(), changed=changed)


def _prune(session: Session, request: Request) -> Result:
    """Discard old releases, then what no release of any app needs, unless another session is at work."""
    gone = session.opened(request.args["app"]).prune(request.args["keep"])
    result: Result = {"releases": gone, "trees": 0, "files": 0, "bytes": 0, "collected": False}
    session.store.commit()
    with session.store.exclusive() as alone:
        if alone:
            digests: Set[str] = set()
            used: Set[str] = set()
            for app in session.every_app():
                app_digests, app_trees = app.releases.referenced()
                digests |= app_digests
                used |= app_trees
            result.update(session.trees.collect(used))
            result.update(session.store.sweep(digests | session.trees.referenced()), collected=True)
    return result


def _purge(session: Session, request: Request) -> Result:
    return purge(session, request.args["who"])


def _bye(session: Session, request: Request) -> Result:
    return {}


_APP = {"app": checks.name}
_RELEASE = {"app": checks.name, "release": checks.digest}
_THREADS = checks.integer(1, 256)
_SECONDS = checks.number(0.001, 86_400)
_RUN_ID = checks.text(64, journal.RUN, "8 to 64 hexadecimal digits")
_RUN = {"release": checks.digest, "format": checks.text(130), "threads": _THREADS, "timeout_s": _SECONDS}


def _takes(
    required: Dict[str, checks.Check], extra: Optional[Dict[str, checks.Check]] = None
) -> checks.Check:
    return checks.record(required, extra, closed=True)


OPERATIONS: Dict[str, Operation] = {
    "ping": Operation(_ping, _takes({})),
    "probe": Operation(_probe, _takes({}, {"python": checks.absolute_path})),
    "health": Operation(_health, _takes({})),
    "missing": Operation(
        _missing, _takes({"digests": checks.list_of(checks.row(checks.digest, checks.size))})
    ),
    "put": Operation(
        _put,
        _takes(
            {"sha256": checks.digest, "bytes": checks.size}, {"offset": checks.size, "passing": checks.flag}
        ),
        checks.MAX_SIZE,
    ),
    "commit": Operation(_commit, _takes({})),
    "open_app": Operation(
        _open_app,
        _takes({"app": checks.name, "who": checks.line, "mode": checks.one_of("read", "write")}),
    ),
    "has_tree": Operation(_has_tree, _takes({"id": checks.digest})),
    "prepare": Operation(_prepare, _takes({"runtime": checks.text(64, protocol.NAME), "id": checks.digest})),
    "tree": Operation(_tree, _takes({"id": checks.digest, "files": trees.check_listing})),
    "stage": Operation(
        _stage,
        _takes(
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
    "selftest": Operation(
        _selftest,
        _takes(_RELEASE, {"threads": _THREADS, "timeout_s": _SECONDS, "recorded": checks.flag}),
    ),
    "infer": Operation(_infer, _takes(_APP, _RUN), MAX_INFER),
    "load": Operation(_load, _takes(_APP, _RUN)),
    "load_file": Operation(
        _load_file,
        _takes(
            {
                "artifact": manifest.check_artifact,
                "files": check_files,
                "binding": checks.dict_of(checks.anything),
            },
            {"threads": _THREADS, "timeout_s": _SECONDS},
        ),
    ),
    "call": Operation(_call, _takes({"timeout_s": _SECONDS}), MAX_INFER),
    "unload": Operation(_unload, _takes({})),
    "bench": Operation(
        _bench,
        _takes(
            {"app": checks.name, "plan": check_plan},
            {"release": checks.digest, "run": _RUN_ID, "about": checks.dict_of(checks.anything)},
        ),
    ),
    "governor": Operation(_governor, _takes({"governor": checks.optional(checks.name)})),
    "profile": Operation(_profile, _takes({**_APP, "calls": checks.integer(1, 10_000)}, _RUN)),
    "bench_left": Operation(_bench_left, _takes({})),
    "bench_read": Operation(_bench_read, _takes({"run": _RUN_ID})),
    "bench_forget": Operation(_bench_forget, _takes({"run": _RUN_ID})),
    "activate": Operation(
        _activate,
        _takes(
            _RELEASE,
            {
                "trial": checks.flag,
                "allow_unverified": checks.flag,
                "detail": checks.text(4096),
                "prefer": checks.text(130),
                "service": check_service,
            },
        ),
    ),
    "confirm": Operation(_confirm, _takes(_APP)),
    "rollback": Operation(_rollback, _takes(_APP, {"to": checks.digest})),
    "discard": Operation(_discard, _takes(_RELEASE)),
    "drop_passing": Operation(_drop_passing, _takes(_APP)),
    "pin": Operation(_pin, _takes({**_RELEASE, "keep": checks.flag})),
    "status": Operation(_status, _takes({}, _APP)),
    "history": Operation(_history, _takes(_APP)),
    "trust": Operation(_trust, _takes({})),
    "trust_add": Operation(_trust_add, _takes({"key": checks.text(sshsig.MAX_KEY), "who": checks.line})),
    "trust_remove": Operation(_trust_remove, _takes({"fingerprint": checks.line, "who": checks.line})),
    "trust_policy": Operation(
        _trust_policy, _takes({"policy": checks.one_of(trust.REQUIRE, trust.ALLOW), "who": checks.line})
    ),
    "prune": Operation(_prune, _takes({"app": checks.name, "keep": checks.integer(0, 10_000)})),
    "purge": Operation(_purge, _takes({"who": checks.line})),
    "bye": Operation(_bye, _takes({})),
}


def find(name: Any) -> Operation:
    """The operation of this name. Raises protocol."""
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise DeviceError("protocol", "there is no such operation", sorted(OPERATIONS), checks.brief(name))
    return operation


def run(session: Session, operation: Operation, request: Request) -> Result:
    """Check the arguments and do it. Raises DeviceError."""
    try:
        operation.check(request.args, "args")
    except checks.Invalid as error:
        raise DeviceError("protocol", str(error), error.expected, error.found) from None
    if request.blob_bytes > (operation.max_blob or 0):
        raise DeviceError("protocol", "the blob is too large", operation.max_blob or 0, request.blob_bytes)
    with storage("working"):
        return operation.function(session, request)


def device_state(session: Session, args: Any) -> Optional[Dict[str, Any]]:
    """What the app that a request was about runs now; None where there is no such app."""
    name = args.get("app") if isinstance(args, dict) else None
    if not isinstance(name, str) or protocol.NAME.fullmatch(name) is None:
        return None
    app = session.app(name)
    if not app.exists:
        return {"active": None, "previous": None, "phase": state.EMPTY}
    return app.where()
