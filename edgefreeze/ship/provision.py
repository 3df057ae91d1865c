"""The runtimes of a device: which they are there, put together here, and brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Content, Release
from edgefreeze.ship.plan import RuntimePlan, check_room
from edgefreeze.targets import Format, Target
from edgefreeze.text import size
from edgefreeze.transport.client import Helper, Upload
from edgefreeze.types import DeviceFacts


def choose(
    formats: tuple[Format, ...], target: Target, facts: DeviceFacts, progress: Progress
) -> dict[str, runtimes.Choice]:
    """A choice of packages for each runtime that the formats need. One that has none is left out with a
    note, unless it is the target's first: then Failure runtime-unavailable."""
    chosen: dict[str, runtimes.Choice] = {}
    for fmt in formats:
        name = runtimes.table().of_format(fmt.format)
        if name in chosen:
            continue
        try:
            chosen[name] = runtimes.choose(name, facts, target.runtimes.get(name))  # type: ignore[call-overload]
        except Failure as failure:
            if fmt is formats[0]:
                raise
            progress.note(f"{fmt.key} is left out: {failure.message} ({failure.found})")
    return chosen


def plans(
    release: Release,
    choices: dict[str, runtimes.Choice],
    facts: DeviceFacts,
    progress: Progress,
    sources: runtimes.Sources,
) -> tuple[RuntimePlan, ...]:
    """The runtimes of a release's artifacts on a device, put together here where they are to be brought, of
    what the release's own lock says.

    Raises Failure runtime-fetch.
    """
    sources = replace(sources, release=release.folder)
    return tuple(
        plan(choices[name], facts, progress, sources)
        for name in dict.fromkeys(runtimes.table().of_format(a.format) for a in release.artifacts)
    )


def plan(
    choice: runtimes.Choice, facts: DeviceFacts, progress: Progress, sources: runtimes.Sources
) -> RuntimePlan:
    """One runtime on a device, put together here where it is to be brought. Raises Failure runtime-fetch,
    runtime-unavailable."""
    if choice.package is None:
        return RuntimePlan(choice=choice, tree=None)
    what = choice.requirement[0]
    progress.step("runtime", f"putting {what} together for {facts.machine}, Python {facts.python}")
    return RuntimePlan(choice=choice, tree=runtimes.fetch(choice, facts, sources))


def bring(
    helper: Helper,
    plan: RuntimePlan,
    facts: DeviceFacts,
    target: Target,
    progress: Progress,
    rate: int | None = None,
) -> int:
    """Have a runtime's tree on the device; the payload bytes sent for it. Nothing is sent that is there.
    rate: at most so many bytes a second.

    Raises Failure disk-space before anything is.
    """
    contents, tree = _contents(helper, plan), plan.tree
    if tree is None or not contents:
        return 0
    missing = _missing(helper, contents)
    check_room(missing, facts, target.limits.keep_free_mb, helper.where)
    sent = _put(helper, missing, plan.choice.requirement[0], progress, passing=False, rate=rate)
    helper.request("commit")
    progress.step("runtime", f"putting {tree.runtime} together on the device")
    helper.request("tree", {"id": tree.id, "files": tree.listing()})
    return sent


def _contents(helper: Helper, plan: RuntimePlan) -> list[Content]:
    """All of a tree that is not on the device; nothing of one that is."""
    tree = plan.tree
    if tree is None or helper.request("has_tree", {"id": tree.id}).get("present") is True:
        return []
    return [Content(sha256=f.sha256, bytes=f.bytes, source=tree.folder / f.path) for f in tree.files]


def lacking(helper: Helper, plan: RuntimePlan) -> tuple[Content, ...]:
    """What bring() would send."""
    return _missing(helper, _contents(helper, plan))


def _missing(helper: Helper, contents: Sequence[Content]) -> tuple[Content, ...]:
    """Of some content, each digest once, what the device lacks."""
    if not contents:
        return ()
    found = helper.request("missing", {"digests": [[c.sha256, c.bytes] for c in contents]})
    missing = found.get("missing")
    if not isinstance(missing, list):
        raise Failure("protocol", f"{helper.where}: the list of missing content makes no sense")
    return tuple({c.sha256: c for c in contents if c.sha256 in missing}.values())


def send(helper: Helper, contents: Sequence[Content], what: str, progress: Progress, *, passing: bool) -> int:
    """Send what the device lacks of some content; the payload bytes sent. passing: it goes again with the
    session."""
    return _put(helper, _missing(helper, contents), what, progress, passing=passing)


def _put(
    helper: Helper,
    missing: Sequence[Content],
    what: str,
    progress: Progress,
    *,
    passing: bool,
    rate: int | None = None,
) -> int:
    total = sum(c.bytes for c in missing)
    progress.step("send", f"sending {what}: {size(total)}", total)
    return helper.put(
        (
            Upload(c.sha256, c.bytes, lambda c=c: c.source.open("rb"), passing=passing)  # type: ignore[misc]
            for c in missing
        ),
        progress.advance,
        rate,
    )
