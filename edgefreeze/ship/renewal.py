"""The first question of a ship, and all of it where nothing has changed: in one round trip."""

from __future__ import annotations

from dataclasses import dataclass

from edgefreeze.inventory import Service
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Release
from edgefreeze.ship import session
from edgefreeze.ship.admission import Trust
from edgefreeze.ship.plan import RuntimePlan, ShipPlan, plan
from edgefreeze.ship.session import AppState, SelfTest
from edgefreeze.transport.client import Ask, Helper
from edgefreeze.types import DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a release is renewed on a device that runs it already and lacks nothing of it."""

    facts: DeviceFacts
    runner: dict[str, str]
    threads: int
    unverified: tuple[str, ...]
    service: Service | None
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The app, locked for us, as it is there."""

    state: AppState
    trust: Trust
    ship: ShipPlan
    renewed: tuple[SelfTest, ...] | None = None
    """The self-tests on record, where all steps of the ship are done already; else None."""


def open_and_ask(
    helper: Helper,
    app: str,
    who: str,
    release: Release,
    runtimes: tuple[RuntimePlan, ...],
    terms: Terms | None,
    progress: Progress,
    *,
    look_only: bool = False,
) -> Opened:
    """session.open_app and what the device lacks; with `terms`, and where the release is active there and
    lacks nothing, everything else too: it is read back, hashed and mended as ever, and the self-test is the
    one on record, where that still holds.

    A runtime that is not there costs a second round trip. Raises Failure locked, and as session's stage,
    self_test and activate.
    """
    trees = [r.tree for r in runtimes if r.tree is not None]
    asks = [
        Ask("open_app", session.opening(app, who, look_only=look_only), {"active": release.id}),
        *(Ask("has_tree", {"id": tree.id}, {"present": True}) for tree in trees),
        Ask("missing", session.wanted(release, ()), {"missing": []}),
    ]
    rest = [] if terms is None else _rest(release, runtimes, terms)
    answers = helper.requests([*asks, *rest])
    opened, *found, missing = (answer or {} for answer in answers[: len(asks)])
    state, trust = session.opened(helper, opened)
    there = {tree.id for tree, has in zip(trees, found, strict=True) if has.get("present") is True}
    absent = tuple(r for r in runtimes if r.tree is not None and r.tree.id not in there)
    if absent:
        missing = helper.request("missing", session.wanted(release, absent))
    ship = session.planned(helper, release, runtimes, missing)
    done = [answer for answer in answers[len(asks) :] if answer is not None]
    if not rest or len(done) < len(rest):
        return Opened(state=state, trust=trust, ship=ship)
    progress.step("verify", "nothing has changed; read back and hashed on the device")
    staged, *tested, active, _ = done
    session.require_staged(helper, release, staged, progress)
    tests = session.require_passed(helper, release, tested[0]) if tested else ()
    return Opened(state=session.app_state(active), trust=trust, ship=ship, renewed=tests)


def _rest(release: Release, runtimes: tuple[RuntimePlan, ...], terms: Terms) -> list[Ask]:
    app = release.manifest["app"]
    ship = plan(release, runtimes, frozenset(), {})
    test = {"app": app, "release": release.id, "threads": terms.threads, "recorded": True}
    return [
        Ask("stage", session.staging(ship, terms.facts, terms.runner), linked=True),
        *([Ask("selftest", test, {"passed": True}, linked=True)] if release.provable else []),
        Ask("activate", session.activating(release, None, terms.unverified, terms.service), linked=True),
        Ask("prune", {"app": app, "keep": terms.keep}, linked=True),
    ]
