"""Installing a packed release from a file, on the device alone: the order and the checks of a ship."""

import getpass
import os
import platform
import stat
import sys
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Optional

from edgefreeze.device import manifest, pack, probe, runtimes
from edgefreeze.device.admission import Parcel, admit
from edgefreeze.device.app import App
from edgefreeze.device.changeover import change_over
from edgefreeze.device.errors import DeviceError, from_exception, from_os_error
from edgefreeze.device.measure import selftest
from edgefreeze.device.session import Session

SELFTEST_S = 600.0
Say = Callable[[str], None]

EXIT_STATUSES = {
    "untrusted": 6, "replayed": 6, "not-tested": 6, "selftest-failed": 6,
    "hook-failed": 5, "health-failed": 5, "rollback-failed": 7, "bad-pack": 3,
}  # fmt: skip
"""As the host's, for scripts; all others are 1."""


def install(session: Session, path: str, app: Optional[str], enrol: bool, say: Say) -> Dict[str, Any]:
    """Install the release of a pack and switch to it; {"release", "active", "previous", "signed"}.

    app: refuse a pack of another app. enrol: trust its signer from now on where nobody is trusted yet; a file
    that was carried here proves less than a verified connection, so it is not done unasked.
    Raises DeviceError.
    """
    with _open(path) as stream:
        reader = pack.Reader(stream)
        meta = reader.meta()
        parsed = manifest.parse_manifest(meta.manifest)
        if app is not None and parsed["app"] != app:
            raise DeviceError("bad-pack", "the pack is another app's", app, parsed["app"])
        _require_machine(meta)
        brought = (meta.runtimes or {"runtimes": {}})["runtimes"]
        binding = _binding(parsed, {**_inherited(session, parsed["app"]), **brought})
        opened, recovered = session.open(parsed["app"], _who())
        for done in recovered:
            say(done)
        verdict, enrolled = admit(
            opened, Parcel(meta.manifest, meta.envelope, meta.signature), brought, enrol
        )
        say("release %s, %s" % (manifest.release_id(meta.manifest)[:12], verdict.text))
        if enrolled:
            say("the signer is enrolled: from now on only signed releases are taken")
        _take_in(session, reader, pack.wanted(meta))
    for identity, listing in (meta.runtimes or {"trees": {}})["trees"].items():
        session.trees.build(identity, listing, lambda done, total: None)
    release, _ = opened.releases.stage(
        meta.manifest, meta.envelope, binding, lambda done, total: None, meta.signature
    )
    _test(session, opened, release, parsed, say)
    _switch(opened, release)
    return dict(opened.where(), release=release, signed=verdict.text)


def _open(path: str) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DeviceError("bad-pack", "%s is no file" % path, "a packed release", path)
    except OSError as error:
        raise from_os_error(error, "opening the pack") from error
    return open(fd, "rb")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return ("%s@%s, install" % (user, platform.node() or "unknown"))[:256]


def _require_machine(meta: pack.Meta) -> None:
    if meta.runtimes is None:
        return
    facts = probe.interpreter_facts()
    here = "%s, Python %s" % (facts["machine"], ".".join(facts["python"].split(".")[:2]))
    packed = "%(machine)s, Python %(python)s" % meta.runtimes
    if here != packed:
        raise DeviceError("bad-pack", "the pack's runtimes are for another machine or Python", here, packed)


def _inherited(session: Session, name: str) -> Dict[str, str]:
    """Runner module to tree, of the release that is active, where they are for this Python."""
    app = session.app(name)
    active = app.memory.current()
    if active is None:
        return {}
    try:
        binding = app.releases.binding(active)
    except DeviceError:
        return {}  # damaged: no help here
    if os.path.realpath(binding["python"]) != os.path.realpath(sys.executable):
        return {}
    trees = {runner: bound["tree"] for runner, bound in binding["runtimes"].items()}
    return {runner: tree for runner, tree in trees.items() if tree and session.trees.has(tree)}


def _binding(parsed: Dict[str, Any], trees: Dict[str, str]) -> Dict[str, Any]:
    """Which tree runs each artifact; none, for this interpreter's own packages, where `trees` names none.

    Raises missing-content where there are no such packages.
    """
    needed = sorted({a["runtime"] for a in parsed["artifacts"] if a.get("runtime")})
    own = probe.interpreter_facts()["packages"]
    for name in needed:
        try:
            packages = runtimes.find(name).PACKAGES
        except LookupError as error:
            raise DeviceError("missing-content", str(error), runtimes.names(), name) from None
        if name not in trees and not any(package in own for package in packages):
            formats = [manifest.key(a) for a in parsed["artifacts"] if a.get("runtime") == name]
            raise DeviceError(
                "missing-content",
                "the pack brings nothing to run %s in, and this Python has nothing either"
                % ", ".join(formats),
                "%s here, or a pack made with --host, or without these formats" % " or ".join(packages),
                sys.executable,
            )
    bound = {name: {"tree": trees.get(name)} for name in needed}
    return manifest.parse_binding({"python": sys.executable, "runtimes": bound})


def _take_in(session: Session, reader: pack.Reader, wanted: Dict[str, int]) -> None:
    lacking = {sha256 for sha256, size in wanted.items() if not session.store.has(sha256, size)}
    session.store.hold()
    session.store.require_space(sum(wanted[sha256] for sha256 in lacking), len(lacking) + 64)
    for sha256, size, pieces in reader.contents(wanted):
        session.store.put(sha256, size, pieces)
    session.store.commit()


def _test(session: Session, app: App, release: str, parsed: Dict[str, Any], say: Say) -> None:
    if not manifest.provable(parsed):
        raise DeviceError("not-tested", "nothing in the pack can be proved", "a verified artifact")
    bench = session.bench(app, release)
    result = selftest(bench, 1, SELFTEST_S, lambda event: say("self-test of %s" % manifest.key(event)))
    app.releases.record_selftest(release, result)
    if not result["passed"]:
        if release != app.memory.current():
            app.discard(release)
        raise DeviceError(
            "selftest-failed",
            "the release does not compute here what the model computes",
            "every artifact within its tolerance",
            "; ".join(_failures(result["artifacts"])),
        )


def _failures(artifacts: List[Dict[str, Any]]) -> Iterator[str]:
    for artifact in artifacts:
        if not artifact["ok"]:
            yield "%s: %s" % (manifest.key(artifact), artifact["error"] or "differs")


def _switch(app: App, release: str) -> None:
    """As the active release's application is told of a switch, so it is of this one."""
    active = app.memory.current()
    plan = app.releases.service(active) if active is not None else None
    if plan is None:
        app.activate(release, detail="from a file")
    else:
        change_over(app, release, plan, lambda event: None, detail="from a file")


def main(root: str, program: str, path: str, app: Optional[str], enrol: bool) -> int:
    """The command: says what it does on stderr, what runs now on stdout; the exit status."""
    session = Session(root, program)

    def say(text: str) -> None:
        try:
            print(_plain(text), file=sys.stderr, flush=True)
        except OSError:
            pass  # nobody reads it; what is to be done is done all the same

    status = 0
    try:
        found = install(session, path, app, enrol, say)
        print("release %s is active, %s" % (found["release"], _plain(found["signed"])))
    except Exception as raised:
        error = from_exception(raised, "installing")
        status = EXIT_STATUSES.get(error.code, 1)
        say("error: %s  [%s]" % (error.message, error.code))
        for label, value in (("expected", error.expected), ("found", error.found)):
            if value is not None:
                say("  %-9s %s" % (label, value if isinstance(value, str) else str(value)))
    except KeyboardInterrupt:
        status = 130
        say("error: interrupted; the same command again goes on  [interrupted]")
    try:
        session.close()
    except (DeviceError, OSError) as error:
        say("error: leaving: %s" % error)
        status = status or 1
    return status


def _plain(text: str) -> str:
    """Fit for a terminal: the file may have been written by anybody."""
    return "".join(c if c.isprintable() else "?" for c in text)[:1000]
