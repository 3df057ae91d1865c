"""Running a release's artifacts in runner processes: the self-test, and inference on demand."""

import os
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from edgefreeze.device import manifest
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.releases import Releases
from edgefreeze.device.runtimes import builds
from edgefreeze.device.trees import Trees, require_tree

Event = Callable[[Dict[str, Any]], None]
GREETING_S = 60.0


class Bench:
    """A release on the bench: knows how to start a runner for each of its artifacts."""

    def __init__(self, root: str, program: str, trees: Trees, releases: Releases, release: str) -> None:
        """Raises no-release, bad-manifest."""
        self._pycache = os.path.join(root, "cache", "pycache")
        self._timings = os.path.join(root, "cache", "tensorrt")
        self._program = program
        self._trees = trees
        self._releases = releases
        self.release = release
        self.manifest = releases.manifest(release)
        self._binding = releases.binding(release)
        self.preferred = releases.preferred(release)

    def start(self, artifact: Dict[str, Any], threads: int, cpus: Optional[Sequence[int]] = None) -> Runner:
        """Start a runner for the artifact, on these processors only; load() comes next.

        Raises python-missing, runner-died, …
        """
        return Runner(self._binding["python"], self._program, threads, GREETING_S, cpus)

    def load(
        self,
        runner: Runner,
        artifact: Dict[str, Any],
        threads: int,
        timeout_s: float,
        batch: Optional[int] = None,
        checks: bool = False,
    ) -> Dict[str, Any]:
        """Load the artifact and the golden data in the runner; its timings. Raises as Runner.call does.

        batch: rows that the golden inputs are to have, instead of their own. checks: the caller asks for
        check next; if not, an engine that was built just now is compared here: raises selftest-failed.
        """
        folder = self._releases.folder(self.release)
        args = {
            "artifact": artifact,
            "path": os.path.join(folder, artifact["path"]),
            "golden": os.path.join(folder, manifest.GOLDEN),
            "threads": threads,
            "batch": batch,
            "sys_paths": self.sys_paths(artifact["runtime"]),
            # A shipped tree stays as it was sent; an interpreter's own packages have been compiled.
            "pycache": self._pycache if self._tree(artifact["runtime"]) else None,
            "engines": os.path.join(folder, manifest.ENGINES),
            "timings": self._timings,
            "checks": checks,
        }
        return runner.call("load", args, timeout_s + builds(artifact["runtime"]))

    def sys_paths(self, runtime: str) -> List[str]:
        """As sys_paths(), of the runtime that is bound."""
        return sys_paths(self._trees, self._bound(runtime))

    def distrust(self, runtime: str) -> List[str]:
        """As Trees.distrust, of the tree that is bound: what runs a model wrongly may itself be damaged."""
        tree = self._tree(runtime)
        return self._trees.distrust(tree) if tree is not None else []

    def _bound(self, runtime: str) -> Dict[str, Any]:
        bound: Dict[str, Any] = self._binding["runtimes"].get(runtime, {"tree": None})
        return bound

    def _tree(self, runtime: str) -> Optional[str]:
        tree: Optional[str] = self._bound(runtime)["tree"]
        return tree


def sys_paths(trees: Trees, bound: Dict[str, Any]) -> List[str]:
    """Folders for the runner's sys.path: the bound tree's, or none for the interpreter's own packages.

    Raises missing-content where the tree is not here.
    """
    paths = bound.get("paths")
    if bound["tree"] is None:
        return list(paths or [])
    tree = require_tree(trees, bound["tree"])
    return [os.path.join(tree, path) if path else tree for path in paths or [""]]


def selftest(bench: Bench, threads: int, timeout_s: float, event: Event) -> Dict[str, Any]:
    """Run every artifact that can be proved on the golden inputs, each in a process of its own.

    {"passed", "tested", "artifacts": [{"format", "precision", "ok", "parity" (parity.compare, null where it
    did not run), "seconds", "version", "device" ("gpu", "cpu"), "error", "code", "stderr" (null where it
    ran)}]}. An artifact that cannot run is a result. Nothing tested is no pass.
    """
    results = []
    for artifact in manifest.provable(bench.manifest):
        event({"kind": "selftest", "format": artifact["format"], "precision": artifact["precision"]})
        start = time.monotonic()
        result: Dict[str, Any] = {
            "format": artifact["format"],
            "precision": artifact["precision"],
            "ok": False,
            "parity": None,
            "version": None,
            "device": None,
            "error": None,
            "code": None,
            "stderr": None,
        }
        try:
            with bench.start(artifact, threads) as runner:
                loaded = bench.load(runner, artifact, threads, timeout_s, checks=True)
                result.update(version=loaded["version"], device=loaded["device"])
                parity = runner.call("check", {}, timeout_s)
            result.update(ok=parity["ok"], parity=parity)
        except DeviceError as error:
            result.update(error=error.message, code=error.code, stderr=error.more.get("stderr"))
        if not result["ok"]:
            damaged = bench.distrust(artifact["runtime"])
            if damaged:
                words = "the runtime was damaged on the disk (%s); ship again to bring it anew" % damaged[0]
                result["error"] = "; ".join(part for part in (words, result["error"]) if part)
        result["seconds"] = time.monotonic() - start
        results.append(result)
    passed = bool(results) and all(result["ok"] for result in results)
    return {"passed": passed, "tested": len(results), "artifacts": results}


def choose(bench: Bench, wanted: Optional[str]) -> Dict[str, Any]:
    """The artifact asked for ("format" or "format:precision"), or the one preferred here, or the first that
    can be proved. Raises no-artifact."""
    wanted = wanted or bench.preferred
    if wanted is not None:
        return manifest.find_artifact(bench.manifest, wanted)
    for artifact in manifest.provable(bench.manifest):
        return artifact
    raise DeviceError("no-artifact", "the release has no verified artifact", "the format, named", None)
