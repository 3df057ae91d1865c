"""Where an artifact runs: in a process of this machine, or on a device, by the same runner in either case."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgefreeze import runtimes
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Content
from edgefreeze.ship import session, trial
from edgefreeze.ship.trial import Infer, Placed
from edgefreeze.targets import Target
from edgefreeze.text import clean
from edgefreeze.transport import pyz
from edgefreeze.transport.client import Helper
from edgefreeze.types import DeviceFacts, Tensor
from edgefreeze.worker import digests, prove

if TYPE_CHECKING:
    from edgefreeze.difference.sides import Artifact


class Place(Protocol):
    """Runs artifacts. `name`: the device's, None for this machine."""

    @property
    def name(self) -> str | None:
        """As a person calls it."""

    def opened(
        self, artifact: Artifact, progress: Progress
    ) -> contextlib.AbstractContextManager[Callable[[bytes], bytes]]:
        """infer(.npz bytes) -> .npz bytes, of the loaded artifact. Raises Failure runtime-failed, and what
        bringing it raises."""


@dataclass(frozen=True, slots=True)
class Here:
    """A process of this machine that dies with the context."""

    @property
    def name(self) -> None:
        """None."""

    @contextlib.contextmanager
    def opened(self, artifact: Artifact, progress: Progress) -> Iterator[Infer]:
        """As Place. Raises Failure runtime-failed."""
        with tempfile.TemporaryDirectory(prefix="edgefreeze-verify-") as scratch:
            program = Path(scratch) / "helper.pyz"
            program.write_bytes(pyz.build()[0])
            request: dict[str, Any] = {
                "artifact": artifact.described(),
                "path": str(artifact.path.resolve()),
                "golden": None,
                "threads": prove.THREADS,
                "sys_paths": [],
                "pycache": sys.pycache_prefix,
            }
            try:
                with Runner(sys.executable, str(program), prove.THREADS, prove.GREETING_S) as runner:
                    runner.call("load", request, prove.TIMEOUT_S)
                    yield lambda blob: runner.infer(blob, prove.TIMEOUT_S)[1]
            except DeviceError as error:
                raise Failure(
                    "runtime-failed",
                    f"{artifact.path} does not run in {artifact.runtime}: {clean(error.message, 500)}",
                    expected="a whole artifact, and its runtime installed here",
                    found=clean(str(error.found or error.message), 300),
                ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A device, to which the artifact is brought for as long as it is asked."""

    helper: Helper
    target: Target
    facts: DeviceFacts
    sources: runtimes.Sources

    @property
    def name(self) -> str:
        """The device's."""
        return self.helper.where

    @contextlib.contextmanager
    def opened(self, artifact: Artifact, progress: Progress) -> Iterator[Infer]:
        """As Place. Raises Failure: runtime-unavailable, disk-space, what the transport and running raise."""
        bound = trial.bind(self.helper, self.facts, artifact.kind, self.target, progress, self.sources)
        files = [
            Placed(path=path, content=Content(sha256=digests.sha256(p), bytes=p.stat().st_size, source=p))
            for path, p in _files(artifact.path.resolve())
        ]
        entry = {
            **artifact.described(),
            "precision": "fp32",
            "status": "unverified",
            "path": files[0].path.split("/")[0],
        }
        threads = self.target.bench.threads
        with trial.brought(self.helper, entry, files, bound, threads, progress) as infer:
            yield infer


def there(helper: Helper, target: Target, progress: Progress, sources: runtimes.Sources) -> There:
    """A connected device as a place. Raises Failure device-mismatch where it is another architecture's."""
    progress.step("probe", "looking at the device")
    facts = session.probe(helper)
    session.require_board(target, facts, helper.where)
    return There(helper=helper, target=target, facts=facts, sources=sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An artifact of a release that is on a device: it is loaded there already."""

    name: str
    infer: Infer

    @contextlib.contextmanager
    def opened(self, artifact: Artifact, progress: Progress) -> Iterator[Infer]:
        """As Place."""
        yield self.infer


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a device says of an artifact of a release, checked and cleaned."""

    release: str
    format: str
    precision: str
    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@contextlib.contextmanager
def released(
    helper: Helper, app: str, release: str | None, wanted: str | None, threads: int
) -> Iterator[tuple[Described, Released]]:
    """(what it is, where it runs) of an artifact of a release on the device. Raises Failure: no-app,
    no-release, no-artifact, protocol, and what loading raises."""
    with trial.released(helper, app, release, wanted, threads) as (answer, infer):
        try:
            found = msgspec.convert({**answer["artifact"], "release": answer["release"]}, Described)
            ends = [Tensor(name=clean(t.name, 512), tensor=clean(t.tensor, 512), dtype=clean(t.dtype, 40),
                           shape=t.shape) for t in (*found.inputs, *found.outputs)]  # fmt: skip
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            raise Failure(
                "protocol", f"{helper.where}: its artifact makes no sense: {clean(str(error), 200)}"
            ) from None
        count = len(found.inputs)
        yield (
            Described(
                release=clean(found.release, 64),
                format=clean(found.format, 64),
                precision=clean(found.precision, 64),
                runtime=clean(found.runtime, 64),
                inputs=tuple(ends[:count]),
                outputs=tuple(ends[count:]),
            ),
            Released(name=helper.where, infer=infer),
        )


def _files(path: Path) -> list[tuple[str, Path]]:
    """(path in a folder of the device's, file): "model.tflite", or "model/…" for a folder's files."""
    if path.is_file():
        return [("model" + path.suffix, path)]
    return [(f"model/{p.relative_to(path).as_posix()}", p) for p in digests.files(path)]
