"""A TensorRT engine in the device's own trtexec, which builds it here of the recipe that the artifact is.

trtexec is a program and no library: every call of run() is a process of its own that loads the engine, and
what is timed is timed by trtexec, inference by inference on the GPU's own clock, transfers included. Needs
nothing but NumPy beside it. Untested on hardware.
"""

import os
import time
from typing import Any, Dict, List, Optional, Sequence

from edgefreeze.device import engines, files, timing, trtexec
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.runtimes import Arrays, Call, require_inputs, tensor_names

PACKAGES = ("numpy",)
PREPARE_S = engines.BUILD_S
RUN_S = 600.0
SETTLE_NS = 200_000_000
"""What runs before a block's own calls, in its process: the GPU's clocks come up, caches fill."""
MOST_SETTLING = 200


def require() -> Any:
    """Import NumPy."""
    import numpy

    return numpy


def prepare(path: str, artifact: Dict[str, Any], kept: Optional[str], timings: Optional[str]) -> Any:
    """The engine of the artifact's recipe, built where it is not kept. Raises as engines.ensure does."""
    if kept is None or timings is None:
        raise DeviceError("runtime-failed", "there is no place to keep an engine")
    return engines.ensure(path, kept, timings)


class Model:
    """An engine on the disk, and how it is asked."""

    device = "gpu"

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        self._engine: engines.Engine = artifact["prepared"]
        self.version = "TensorRT %s" % (self._engine.program.version or "of unknown version")
        self._inputs = tensor_names(artifact, "inputs")
        self._outputs = tensor_names(artifact, "outputs")
        self._dtypes = {tensor["name"]: tensor["dtype"] for tensor in artifact["outputs"]}
        self._built = self._shapes(artifact)
        self.fresh = self._engine.fresh

    def _shapes(self, artifact: Dict[str, Any]) -> Dict[str, List[int]]:
        """By input, the sizes that the engine takes."""
        fixed = self._engine.shapes
        return {
            tensor["name"]: list(fixed.get(tensor["tensor"], tensor["shape"] or ()))
            for tensor in artifact["inputs"]
        }

    def run(self, inputs: Arrays) -> Arrays:
        """One inference, in a process of its own."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs, in a process of its own. Raises bad-input for shapes that it was not built
        for."""
        self._require(inputs)

        def infer() -> Arrays:
            outputs: Arrays = self._call(inputs, 1, 0.0, "--exportOutput=outputs.json")["outputs"]
            return outputs

        return infer

    def _require(self, inputs: Arrays) -> None:
        require_inputs(self._inputs, inputs)
        found = {name: list(array.shape) for name, array in inputs.items()}
        if found != self._built:
            raise DeviceError(
                "bad-input",
                "the engine is built for inputs of other sizes; build with --batch for another batch",
                self._built,
                found,
            )

    def _call(self, inputs: Arrays, iterations: int, seconds: float, *exports: str) -> Dict[str, Any]:
        """One process: {"done": engines.Done, "outputs" | "times" | "profile" of the files it exported}."""
        engine = self._engine
        folder = engines.scratch(os.path.dirname(os.path.dirname(engine.path)))
        try:
            named = {}
            for number, (name, tensor) in enumerate(self._inputs):
                named[tensor] = "input%d.bin" % number
                _as_engine(inputs[name], engine.program.narrow).tofile(os.path.join(folder, named[tensor]))
            shapes = {t: tuple(inputs[n].shape) for n, t in self._inputs if t in engine.shapes}
            run = trtexec.Run(engine.path, named, shapes, iterations, round(1000 * seconds))
            command = trtexec.run_command(engine.program, run, *exports)
            found: Dict[str, Any] = {"done": engines.call(command, folder, RUN_S + seconds)}
            for export in exports:
                name = export.partition("=")[2]
                if name:
                    found[name.partition(".")[0]] = self._read(os.path.join(folder, name))
            return found
        finally:
            files.remove_tree(folder)

    def _read(self, path: str) -> Any:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            if path.endswith("times.json"):
                return trtexec.parse_times(text)
            return trtexec.parse_profile(text) if path.endswith("profile.json") else self._arrays(text)
        except (OSError, ValueError) as error:
            raise DeviceError("runtime-failed", "trtexec's results cannot be read: %s" % error) from None

    def _arrays(self, text: str) -> Arrays:
        import numpy as np

        told = trtexec.parse_outputs(text)
        lacking = [tensor for _, tensor in self._outputs if tensor not in told]
        if lacking:
            raise ValueError("no output %s; there are %s" % (lacking[0], ", ".join(told)))
        return {
            name: np.asarray(told[tensor][1], dtype=self._dtypes[name]).reshape(told[tensor][0])
            for name, tensor in self._outputs
        }

    def timed(
        self,
        cases: Sequence[Arrays],
        turn: int,
        usual_ns: int,
        stretch: timing.Stretch,
        spool: Optional[timing.Spool] = None,
    ) -> Dict[str, Any]:
        """As timing.timed, of the case whose turn it is: one process, timed by trtexec. `lead_ns`: of calls
        before those that count.

        Raises bad-input for a fixed rate, which trtexec has not.
        """
        if stretch.period_ns:
            raise DeviceError("bad-input", "trtexec calls one after another, and keeps no rate")
        self._require(cases[turn])
        samples, lead = stretch.samples, timing.LEAD_CALLS
        if usual_ns:
            samples = min(samples, max(1, stretch.most_ns // usual_ns))
            lead = min(MOST_SETTLING, max(1, SETTLE_NS // usual_ns))
        exports = ("--exportOutput=outputs.json", "--exportTimes=times.json")
        start = time.perf_counter_ns()
        found = self._call(cases[turn], samples + lead, stretch.least_ns / 1e9, *exports)
        times: List[int] = found["times"]
        if len(times) <= lead:
            raise DeviceError("runtime-failed", "trtexec timed too few calls", samples + lead, len(times))
        counted = times[lead:][: timing.MOST_SAMPLES]
        if spool is not None:
            for number, sample in enumerate(counted):
                spool.view[number] = sample
        outputs: List[Any] = [None] * len(cases)
        outputs[turn] = found["outputs"]
        done: engines.Done = found["done"]
        return {
            "samples_ns": counted,
            "lead_ns": times[:lead],
            "start_ns": start,
            "cpu_ns": done.cpu_ns,
            "preempted": done.preempted,
            "missed": 0,
            "turn": (turn + 1) % len(cases),
            "outputs": outputs,
            "rss_bytes": done.peak_bytes,
            "peak_bytes": done.peak_bytes,
            "pss_bytes": None,
        }

    def profile(self, cases: List[Arrays], calls: int) -> List[Dict[str, Any]]:
        """From trtexec's own profile of the engine's layers, which are not the model's any more."""
        self._require(cases[0])
        found = self._call(cases[0], calls, 0.0, "--dumpProfile", "--exportProfile=profile.json")
        return [{"name": name, "type": "", "ns": ns} for name, ns in found["profile"].items()]

    def discard(self) -> None:
        """Take the engine away: it computes something else."""
        engines.discard(self._engine)

    def close(self) -> None:
        """Nothing is held."""


def _as_engine(array: Any, narrow: bool) -> Any:
    """As an engine takes it: no doubles, and before TensorRT 10 no int64 either."""
    import numpy as np

    kind = str(array.dtype)
    target = {"float64": np.float32, "int64": np.int32 if narrow else np.int64}.get(kind, array.dtype)
    return np.ascontiguousarray(array, dtype=target)


load = Model
