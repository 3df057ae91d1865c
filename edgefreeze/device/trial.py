"""One artifact held loaded for as long as a session asks it questions: of a release, or one that is only here
to be tried. What was sent for that goes with the session; nothing of an app changes.

    load       an artifact of a release         load_file  content that was put, in a folder of the session's
    call       one inference on .npz bytes      unload     the process ends, and the folder is removed
"""

import os
from typing import Any, Dict, Optional, Tuple

from edgefreeze.device import checks, files, manifest
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.measure import GREETING_S, Bench, choose, sys_paths
from edgefreeze.device.runtimes import builds
from edgefreeze.device.store import Store
from edgefreeze.device.trees import Trees, conflicting_path

check_files = checks.list_of(
    checks.record({"path": checks.safe_path, "sha256": checks.digest, "bytes": checks.size}, closed=True),
    100_000,
    least=1,
)


class Trial:
    """A runner and, for an artifact of no release, the folder that it runs from."""

    def __init__(self, root: str, program: str, store: Store, trees: Trees) -> None:
        self._pycache = os.path.join(root, "cache", "pycache")
        self._timings = os.path.join(root, "cache", "tensorrt")
        self._program = program
        self._store = store
        self._trees = trees
        self._runner: Optional[Runner] = None
        self._folder: Optional[str] = None

    def load(self, bench: Bench, wanted: Optional[str], threads: int, timeout_s: float) -> Dict[str, Any]:
        """{"artifact": its entry in the manifest, "version"}. Raises no-artifact, and as Runner.call does."""
        self.unload()
        artifact = choose(bench, wanted)
        self._runner = bench.start(artifact, threads)
        loaded = bench.load(self._runner, artifact, threads, timeout_s)
        return {"artifact": artifact, "version": loaded["version"]}

    def load_file(self, args: Dict[str, Any], threads: int, timeout_s: float) -> Dict[str, Any]:
        """{"version"}. args: `artifact` as in a manifest, `files`, `binding`. Raises bad-manifest,
        missing-content, digest-mismatch, and as Runner.call does."""
        self.unload()
        artifact, listing = args["artifact"], args["files"]
        conflict = conflicting_path([entry["path"] for entry in listing])
        if conflict is not None or not artifact.get("path") or not artifact.get("runtime"):
            raise DeviceError("bad-manifest", "no artifact that could run", "path and runtime", conflict)
        binding = manifest.parse_binding(args["binding"])
        bound = binding["runtimes"].get(artifact["runtime"], {"tree": None})
        paths = sys_paths(self._trees, bound)
        self._folder = self._store.scratch((f["path"], f["sha256"], f["bytes"]) for f in listing)
        self._runner = Runner(binding["python"], self._program, threads, GREETING_S)
        request = {
            "artifact": artifact,
            "path": os.path.join(self._folder, artifact["path"]),
            "golden": None,
            "threads": threads,
            "sys_paths": paths,
            "pycache": self._pycache if bound["tree"] else None,
            "engines": os.path.join(self._folder, manifest.ENGINES),
            "timings": self._timings,
        }
        longest = timeout_s + builds(artifact["runtime"])
        return {"version": self._runner.call("load", request, longest)["version"]}

    def call(self, blob: bytes, timeout_s: float) -> Tuple[Dict[str, Any], bytes]:
        """As Runner.infer. Raises protocol where nothing is loaded."""
        if self._runner is None:
            raise DeviceError("protocol", "no artifact is loaded", "load or load_file before", None)
        return self._runner.infer(blob, timeout_s)

    def unload(self) -> None:
        """End the process and remove the folder; nothing where there is neither."""
        if self._runner is not None:
            self._runner.close()
        if self._folder is not None:
            files.remove_tree(self._folder)
        self._runner = self._folder = None
