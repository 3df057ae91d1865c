"""Executes a ship on a connected helper, step by step. What is decided stands in plan.py; what happens on
the device stands in edgefreeze/device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgefreeze.errors import Failure
from edgefreeze.inventory import Service
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Release
from edgefreeze.ship.admission import Trust
from edgefreeze.ship.plan import RuntimePlan, ShipPlan, binding, everything, plan
from edgefreeze.targets import Target
from edgefreeze.text import clean, short, size
from edgefreeze.transport.client import Helper, Upload
from edgefreeze.types import DeviceFacts, Parity

FIRST = ("probe",)
"""What to ask with the first words over a new connection, for those who probe()."""
FACTS_S = 60.0
"""A command in a series believes what one before it was told of the device so long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What an app's folder on the device says."""

    active: str | None
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """How one artifact did on the device against the golden outputs."""

    format: str
    ok: bool
    precision: str = "fp32"
    parity: Parity | None = None
    seconds: float | None = None
    version: str | None = None
    """The runtime's."""
    device: str | None = None
    """Where the runtime computed, by its own word: "gpu", "cpu"."""
    error: str | None = None

    @property
    def key(self) -> str:
        """The artifact's name; what a device says of formats is not trusted to be known."""
        return self.format if self.precision == "fp32" else f"{self.format}:{self.precision}"


def probe(helper: Helper) -> DeviceFacts:
    """The device's facts, of this minute. Raises Failure protocol where what came is no facts."""
    result = helper.recent("probe", FACTS_S)
    try:
        facts = msgspec.convert(result, DeviceFacts, strict=True)
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"{helper.where}: the probe's answer makes no sense: {clean(str(error), 200)}"
        ) from None
    return _cleaned(facts)


def require_board(target: Target, facts: DeviceFacts, where: str) -> tuple[str, ...]:
    """In what the board differs from the target though a release may run there. Raises Failure
    device-mismatch where it cannot."""
    fatal, warnings = target.mismatches(facts)
    if fatal:
        raise Failure(
            "device-mismatch",
            f"{where}: {fatal}",
            expected=" or ".join(target.match.machine),
            found=f"{facts.machine} ({facts.board or facts.cpu_model or 'board unknown'})",
            device_state="probed only; unchanged",
            next="edgefreeze targets list",
        )
    return warnings


def _cleaned(facts: DeviceFacts) -> DeviceFacts:
    """Every text of the facts, fit for a terminal: they come from outside."""
    fields: dict[str, Any] = msgspec.to_builtins(facts)
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = clean(value, 300)
    fields["packages"] = {clean(k, 80): clean(v, 80) for k, v in facts.packages.items()}
    fields["cpus"] = facts.cpus[:4096]
    fields["cpu_features"] = tuple(clean(f, 40) for f in facts.cpu_features[:200])
    return DeviceFacts(**fields)


def open_app(helper: Helper, app: str, who: str) -> tuple[AppState, Trust]:
    """Take the app's lock and let the device recover what an earlier run left; what it runs, whom it trusts.

    Raises Failure locked.
    """
    return opened(helper, helper.request("open_app", opening(app, who)))


def opening(app: str, who: str, *, look_only: bool = False) -> dict[str, Any]:
    """The arguments of open_app. look_only: neither take the app's lock nor put anything right there."""
    return {"app": app, "who": who, "mode": "read" if look_only else "write"}


def opened(helper: Helper, result: dict[str, Any]) -> tuple[AppState, Trust]:
    """The answer to open_app."""
    return app_state(result), Trust.of(result.get("trust"), helper.where)


def app_state(result: dict[str, Any]) -> AppState:
    """active and previous of an answer, checked."""

    def identity(value: Any) -> str | None:
        return clean(value, 64) if isinstance(value, str) else None

    return AppState(active=identity(result.get("active")), previous=identity(result.get("previous")))


def running(helper: Helper, app: str) -> tuple[str, str] | None:
    """(release, artifact) of what runs in an app's name there, cleaned; None where nothing does."""
    for entry in helper.request("status", {}).get("apps", []):
        if not isinstance(entry, dict) or entry.get("app") != app:
            continue
        active = entry.get("active")
        for release in entry.get("releases", []):
            if isinstance(release, dict) and isinstance(active, str) and release.get("id") == active:
                formats = release.get("formats")
                name = release.get("preferred") or (
                    formats[0] if isinstance(formats, list) and formats else ""
                )
                if isinstance(name, str) and name:
                    return clean(active, 64), clean(name, 130).removesuffix(":fp32")
    return None


def ask_missing(helper: Helper, release: Release, runtimes: tuple[RuntimePlan, ...]) -> ShipPlan:
    """Ask which content the device lacks, and plan. A tree that is whole there is not asked about."""
    there = {
        r.tree.id
        for r in runtimes
        if r.tree and helper.request("has_tree", {"id": r.tree.id}).get("present") is True
    }
    absent = tuple(r for r in runtimes if r.tree is None or r.tree.id not in there)
    return planned(helper, release, runtimes, helper.request("missing", wanted(release, absent)))


def wanted(release: Release, runtimes: tuple[RuntimePlan, ...]) -> dict[str, Any]:
    """The arguments of missing: all contents of a release and of these runtimes."""
    return {"digests": [[c.sha256, c.bytes] for c in everything(release, runtimes)]}


def planned(
    helper: Helper, release: Release, runtimes: tuple[RuntimePlan, ...], result: dict[str, Any]
) -> ShipPlan:
    """The plan after an answer to missing. Raises Failure protocol where it makes no sense."""
    missing = result.get("missing")
    if not isinstance(missing, list) or not all(isinstance(m, str) for m in missing):
        raise Failure("protocol", f"{helper.where}: the list of missing content makes no sense")
    partial = result.get("partial")
    known = partial if isinstance(partial, dict) else {}
    resumable = {str(k): v for k, v in known.items() if isinstance(v, int) and not isinstance(v, bool)}
    return plan(release, runtimes, frozenset(missing), resumable)


def send(
    helper: Helper, ship: ShipPlan, progress: Progress, rate: int | None = None, *, passing: bool = False
) -> int:
    """Bring what is missing, at most `rate` bytes a second, and put the runtimes' trees together. Returns the
    payload bytes sent. passing: the release itself is there for this connection only; runtimes stay."""
    own = {c.sha256 for c in ship.release.contents} if passing else set()
    resumed = sum(ship.offsets.values())
    before = f", after {size(resumed)} that were sent before" if resumed else ""
    progress.step("send", f"sending {size(ship.bytes_needed)}{before}", ship.bytes_needed)
    sent = helper.put(
        (
            Upload(
                c.sha256,
                c.bytes,
                lambda c=c: c.source.open("rb"),  # type: ignore[misc]
                ship.offsets.get(c.sha256, 0),
                passing=c.sha256 in own,
            )
            for c in ship.bring
        ),
        progress.advance,
        rate,
    )
    helper.request("commit")
    for runtime in ship.runtimes:
        if runtime.tree is not None:
            progress.step("runtime", f"putting {runtime.choice.runtime} together on the device")
            helper.request("tree", {"id": runtime.tree.id, "files": runtime.tree.listing()})
    return sent


def stage(
    helper: Helper,
    ship: ShipPlan,
    facts: DeviceFacts,
    runner: dict[str, str],
    progress: Progress,
    *,
    passing: bool = False,
) -> bool:
    """Have the release put together, read back and hashed on the device; whether it was there before.

    passing: it goes again when the connection ends, unless it was there before.
    The connection is verified in any case, so the first signer whom the device sees is enrolled there.
    Raises Failure digest-mismatch, untrusted, replayed.
    """
    total = sum(f["bytes"] for f in ship.release.manifest["files"])
    progress.step("verify", "reading back and hashing on the device", total)
    done = 0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal done
        now = event.get("done")
        if event.get("kind") == "verify" and isinstance(now, int) and done < now <= total:
            progress.advance(now - done)
            done = now

    result = helper.request("stage", staging(ship, facts, runner, passing=passing), on_event=on_event)
    require_staged(helper, ship.release, result, progress)
    return result.get("known") is True


def staging(
    ship: ShipPlan, facts: DeviceFacts, runner: dict[str, str], *, passing: bool = False
) -> dict[str, Any]:
    """The arguments of stage."""
    release = ship.release
    signed = {} if release.signature is None else {"signature": release.signature, "enrol": True}
    return {
        "app": release.manifest["app"],
        "manifest": release.manifest_text,
        "envelope": release.envelope_text,
        "binding": binding(facts, ship.runtimes, runner),
        **signed,
        **({"passing": True} if passing else {}),
    }


def require_staged(helper: Helper, release: Release, result: dict[str, Any], progress: Progress) -> None:
    """Raise Failure protocol where the answer to stage is another release; note a signer who was enrolled."""
    if result.get("release") != release.id:
        raise Failure(
            "protocol",
            f"{helper.where}: the device staged another release",
            found=str(result.get("release"))[:64],
        )
    if result.get("enrolled") is True:
        progress.note(
            f"{helper.where} enrolled the signer: from now on it takes releases only that are"
            f" {clean(str(result.get('signed')), 200)} (edgefreeze trust)"
        )


def self_test(helper: Helper, release: Release, *, threads: int, progress: Progress) -> tuple[SelfTest, ...]:
    """Run every artifact on the golden inputs in its own runtime on the device.

    Raises Failure selftest-failed where one does not compute what the model computes; the release is not
    active then, and is thrown away there.
    """
    building = any(artifact.built_there for artifact in release.artifacts)
    first = "; it builds an engine first, which may take long" if building else ""
    progress.step("selftest", f"self-test on the device{first}")
    app = release.manifest["app"]
    result = helper.request("selftest", {"app": app, "release": release.id, "threads": threads})
    return require_passed(helper, release, result)


def require_passed(helper: Helper, release: Release, result: dict[str, Any]) -> tuple[SelfTest, ...]:
    """The self-tests of an answer. Raises Failure selftest-failed; the release is thrown away then."""
    app = release.manifest["app"]
    tests, passed = _decoded(helper, result)
    bad = [t for t in tests if not t.ok]
    if (
        bad
        or not passed
        or {(t.format, t.precision) for t in tests} != {(a.format, a.precision) for a in release.provable}
    ):
        discard(helper, app, release.id)
        raise Failure(
            "selftest-failed",
            f"{helper.where}: release {short(release.id)} does not compute there what the model computes",
            expected="; ".join(_expected(t) for t in bad) or "every artifact tested",
            found="; ".join(_found(t) for t in bad) or "too few tests",
            device_state=helper.state_sentence(),
            retry_safe=True,
            next="leave the format out with --format, or look at the device's runtime",
        )
    return tests


def tested(helper: Helper, app: str, release: str, *, threads: int) -> tuple[tuple[SelfTest, ...], bool]:
    """(how every artifact of a release that is on the device does there, whether the device takes it for
    passed). Raises Failure no-release, protocol."""
    return _decoded(helper, helper.request("selftest", {"app": app, "release": release, "threads": threads}))


def _decoded(helper: Helper, result: dict[str, Any]) -> tuple[tuple[SelfTest, ...], bool]:
    try:
        tests = msgspec.convert(result.get("artifacts"), tuple[SelfTest, ...], strict=False)
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"{helper.where}: the self-test's answer makes no sense: {clean(str(error), 200)}"
        ) from None
    return tests, result.get("passed") is True


def _expected(test: SelfTest) -> str:
    worst = _worst(test.parity)
    return (
        f"{test.key}: error at most {worst.tolerance:.1e} of the output's range"
        if worst
        else f"{test.key} runs"
    )


def _found(test: SelfTest) -> str:
    worst = _worst(test.parity)
    if test.error or worst is None:
        return f"{test.key}: {clean(test.error or 'no result', 300)}"
    reason = f" ({clean(worst.reason, 100)})" if worst.reason else ""
    return f"{test.key}: {worst.max_rel:.1e} in output '{clean(worst.name, 60)}'{reason}"


def _worst(parity: Parity | None) -> Any:
    failed: Sequence[Any] = [o for o in parity.outputs if not o.ok] if parity else []
    return max(failed, key=lambda o: o.max_rel, default=None)


def discard(helper: Helper, app: str, release: str) -> None:
    """Have a release that will not do thrown away; where that fails, the next run clears it away."""
    try:
        helper.request("discard", {"app": app, "release": release})
    except Failure:
        return


def activate(
    helper: Helper,
    release: Release,
    progress: Progress,
    *,
    prefer: str | None = None,
    unverified: tuple[str, ...] = (),
    service: Service | None = None,
) -> AppState:
    """Switch the app to the release. prefer: the artifact that runs there unless another is named;
    unverified: those that nothing could be proved of, for the history; service: how the application is told,
    and shows that it is well.

    Raises Failure hook-failed, health-failed: the device runs what it ran; rollback-failed.
    """
    progress.step("activate", f"switching to {short(release.id)}")
    args = activating(release, prefer, unverified, service)

    def on_event(event: dict[str, Any]) -> None:
        if event.get("kind") == "service":
            progress.step(
                "service",
                "waiting for the application" if event.get("step") == "health" else "telling the application",
            )

    try:
        return app_state(helper.request("activate", args, on_event=on_event))
    except Failure as failure:
        if failure.code in ("hook-failed", "health-failed", "rollback-failed"):
            failure.fields = {"release": release.id, "rolled_back": True}
        raise


def activating(
    release: Release, prefer: str | None, unverified: tuple[str, ...], service: Service | None
) -> dict[str, Any]:
    """The arguments of activate."""
    args: dict[str, Any] = {"app": release.manifest["app"], "release": release.id}
    if prefer is not None:
        args["prefer"] = prefer
    if unverified:
        args |= {"allow_unverified": True, "detail": "unverified: " + ", ".join(unverified)}
    if service is not None:
        args["service"] = msgspec.to_builtins(service)
    return args
