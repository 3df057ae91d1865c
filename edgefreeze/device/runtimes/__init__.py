"""One file per runtime; its name is what manifests call it. Names are listed without importing any.

Each file has
    PACKAGES                 distributions of which one must be there, best first
    require()                import the package (its time is measured); ImportError where it is not there
    load(path, artifact, threads) -> Model
    prepare(path, artifact, engines, timings), PREPARE_S
                             where the device builds what runs: called before load, whose artifact has what
                             it gave as "prepared"; it may take so many seconds. engines: the folder where it
                             keeps that, timings: where it keeps what helps to build the next

and a Model has
    version                  "tensorflow 2.21.0"
    device                   "gpu" or "cpu": where it computes, as far as the runtime says
    run(inputs) -> outputs   one inference; NumPy arrays by the artifact's input and output names
    bind(inputs) -> call     call() does one whole inference on inputs that were prepared once, and gives the
                             outputs as NumPy arrays on the host, as run() does: what a benchmark times
    close()
    profile(cases, calls) -> operations
                             where the runtime tells: how long each operation took, as a mean over `calls`
                             calls on the cases (inputs) in turn; [{"name", "type", "ns"}]. The artifact has
                             "profile" true then when it is loaded
    fresh, discard()         where the device builds: whether that was just now, and how it is taken away
    timed(cases, turn, usual_ns, stretch, spool)
                             where a call is a process: as timing.timed, with "lead_ns" and its memory
"""

import importlib
import pkgutil
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

Arrays = Dict[str, Any]
Call = Callable[[], Arrays]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def names() -> List[str]:
    """The runtimes that there are, from the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if _NAME.fullmatch(module.name))


def find(name: str) -> Any:
    """The module of a runtime. Raises LookupError where there is no such file."""
    if name not in names():
        raise LookupError("no runtime %r; there are %s" % (name, ", ".join(names())))
    return importlib.import_module(__name__ + "." + name)


def builds(name: Optional[str]) -> float:
    """How many seconds a runtime may take to build what runs of an artifact; 0 where artifacts run as they
    are."""
    seconds: float = getattr(find(name), "PREPARE_S", 0.0) if name in names() else 0.0
    return seconds


def mean_operations(spent: Dict[Tuple[str, str], int], calls: int) -> List[Dict[str, Any]]:
    """(name, type) to nanoseconds in all calls, as profile() gives it."""
    return [{"name": name, "type": kind, "ns": ns / calls} for (name, kind), ns in spent.items()]


def tensor_names(artifact: Dict[str, Any], role: str) -> List[Tuple[str, str]]:
    """(name, tensor) of an artifact's "inputs" or "outputs"."""
    return [(entry["name"], entry["tensor"]) for entry in artifact[role]]


def require_inputs(expected: List[Tuple[str, str]], given: Arrays) -> None:
    """Raise ValueError unless exactly the expected inputs are given."""
    wanted = {name for name, _ in expected}
    if wanted != set(given):
        raise ValueError("the inputs are %s, given were %s" % (sorted(wanted), sorted(given)))
