"""Models at work: self-tests, inferences, measurements."""

from typing import Any, Dict, Optional, Tuple

from edgefreeze.device import (
    checks,
    journal,
    manifest,
)
from edgefreeze.device.duel import Duel, check_plan, require_cpus
from edgefreeze.device.measure import Bench, choose, selftest
from edgefreeze.device.requests import (
    APP,
    RELEASE,
    RUN,
    RUN_ID,
    SECONDS,
    THREADS,
    Operation,
    Request,
    Result,
    takes,
)
from edgefreeze.device.session import Session
from edgefreeze.device.trial import check_files

MAX_INFER = 256 << 20
DEFAULT_TIMEOUT_S = 600.0
"""Of loading, of a self-test's artifact and of an inference, where the host names no other."""


def _selftest(session: Session, request: Request) -> Result:
    args = request.args
    app = session.existing(args["app"])
    built = any(a.get("built_there") for a in app.releases.manifest(args["release"])["artifacts"])
    if args.get("recorded", False) and not built:  # an engine may be another one than the recorded test's
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


def _how(args: Dict[str, Any]) -> Tuple[int, float]:
    return args.get("threads", 1), args.get("timeout_s", DEFAULT_TIMEOUT_S)


def _load(session: Session, request: Request) -> Result:
    args = request.args
    bench = session.bench(session.existing(args["app"]), args.get("release"))
    loaded = session.trial.load(bench, args.get("format"), *_how(args))
    return dict(loaded, release=bench.release)


def _load_file(session: Session, request: Request) -> Result:
    return session.trial.load_file(request.args, *_how(request.args))


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
    cpus = args.get("cpus", [])
    require_cpus(cpus)
    with bench.start(artifact, threads, cpus) as runner:
        bench.load(runner, dict(artifact, profile=True), threads, timeout_s)
        return runner.call("profile", {"calls": args["calls"]}, timeout_s)


OPERATIONS: Dict[str, Operation] = {
    "selftest": Operation(
        _selftest,
        takes(RELEASE, {"threads": THREADS, "timeout_s": SECONDS, "recorded": checks.flag}),
    ),
    "infer": Operation(_infer, takes(APP, RUN), MAX_INFER),
    "load": Operation(_load, takes(APP, RUN)),
    "load_file": Operation(
        _load_file,
        takes(
            {
                "artifact": manifest.check_artifact,
                "files": check_files,
                "binding": checks.dict_of(checks.anything),
            },
            {"threads": THREADS, "timeout_s": SECONDS},
        ),
    ),
    "call": Operation(_call, takes({"timeout_s": SECONDS}), MAX_INFER),
    "unload": Operation(_unload, takes({})),
    "bench": Operation(
        _bench,
        takes(
            {"app": checks.name, "plan": check_plan},
            {"release": checks.digest, "run": RUN_ID, "about": checks.dict_of(checks.anything)},
        ),
    ),
    "bench_left": Operation(_bench_left, takes({})),
    "bench_read": Operation(_bench_read, takes({"run": RUN_ID})),
    "bench_forget": Operation(_bench_forget, takes({"run": RUN_ID})),
    "governor": Operation(_governor, takes({"governor": checks.optional(checks.name)})),
    "profile": Operation(
        _profile,
        takes(
            {**APP, "calls": checks.integer(1, 10_000)},
            {**RUN, "cpus": checks.list_of(checks.integer(0, 4095), 4096)},
        ),
    ),
}
