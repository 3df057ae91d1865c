"""Running an artifact on a device without deploying it: what it needs is brought, it is loaded, asked, and
goes again. No app is changed. A runtime that was brought stays for the next time, until a prune finds that no
release uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Content
from edgefreeze.ship import provision
from edgefreeze.ship.plan import binding
from edgefreeze.targets import Target
from edgefreeze.transport.client import Helper
from edgefreeze.types import DeviceFacts

TIMEOUT_S = 600.0
"""Of loading, and of one inference."""

Infer = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file of an artifact, and where in the folder that it runs from it belongs."""

    path: str
    content: Content


@contextlib.contextmanager
def released(
    helper: Helper, app: str, release: str | None, wanted: str | None, threads: int
) -> Iterator[tuple[dict[str, Any], Infer]]:
    """(what the device says of it: `release`, `artifact`, `version`; infer) of an artifact of a release that
    is on the device: the active one's where none is named.

    Raises Failure no-app, no-release, no-artifact, and what running it raises.
    """
    args: dict[str, Any] = {"app": app, "threads": threads, "timeout_s": TIMEOUT_S}
    args |= {key: value for key, value in (("release", release), ("format", wanted)) if value}
    with _unloaded(helper):
        yield helper.request("load", args), _infer(helper)


@contextlib.contextmanager
def brought(
    helper: Helper,
    artifact: Mapping[str, Any],
    files: Sequence[Placed],
    bound: dict[str, Any],
    threads: int,
    progress: Progress,
) -> Iterator[Infer]:
    """infer of an artifact, described as in a manifest, whose files are sent for this and are gone after it.

    bound: as of `bind`. Raises Failure: what sending, loading and running raise.
    """
    provision.send(helper, [f.content for f in files], f"the {artifact['format']}", progress, passing=True)
    listing = [{"path": f.path, "sha256": f.content.sha256, "bytes": f.content.bytes} for f in files]
    args = {"artifact": dict(artifact), "files": listing, "binding": bound}
    with _unloaded(helper):
        helper.request("load_file", {**args, "threads": threads, "timeout_s": TIMEOUT_S})
        yield _infer(helper)


def bind(
    helper: Helper,
    facts: DeviceFacts,
    format_name: str,
    target: Target,
    progress: Progress,
    sources: runtimes.Sources,
) -> dict[str, Any]:
    """Which interpreter and packages run a format on the device; the packages are brought where they are not
    there. Raises Failure runtime-unavailable, runtime-fetch."""
    name = runtimes.table().of_format(format_name)
    choice = runtimes.choose(name, facts, target.runtimes.get(name))  # type: ignore[call-overload]
    plan = provision.plan(choice, facts, progress, sources)
    provision.bring(helper, plan, facts, target, progress)
    return binding(facts, (plan,), runtimes.table().runner)


def _infer(helper: Helper) -> Infer:
    def infer(blob: bytes) -> bytes:
        answer = helper.request("call", {"timeout_s": TIMEOUT_S}, blob=blob).get("blob")
        if not isinstance(answer, bytes):
            raise Failure("protocol", f"{helper.where}: an inference without outputs")
        return answer

    return infer


@contextlib.contextmanager
def _unloaded(helper: Helper) -> Iterator[None]:
    try:
        yield
    finally:
        # A connection that is gone has unloaded it already.
        with contextlib.suppress(Failure):
            helper.request("unload")
