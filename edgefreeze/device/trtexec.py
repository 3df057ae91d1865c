"""What NVIDIA's trtexec takes and says: its command lines, its text, its JSON files. Pure.

The options and the forms are those of its own --help and of published logs, from TensorRT 7 to 10
(tests/captured/trtexec). Untested on hardware.
"""

import json
import re
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

PLACES = (
    "/usr/src/tensorrt/bin/trtexec",  # JetPack, and NVIDIA's packages for Debian
    "/usr/bin/trtexec",
    "/usr/local/bin/trtexec",
    "/usr/local/tensorrt/bin/trtexec",
    "/opt/tensorrt/bin/trtexec",  # NVIDIA's containers
)
"""Where it is though no PATH leads there."""
MODEL, ENGINE = "--onnx=model.onnx", "--saveEngine=model.engine"
"""What a recipe's arguments begin with; both are files of the folder in which it is run."""
_PRECISIONS = {"--fp16", "--int8", "--bf16", "--best", "--noTF32"}
_VALUES = (
    "--shapes", "--minShapes", "--optShapes", "--maxShapes", "--memPoolSize", "--builderOptimizationLevel",
)  # fmt: skip
"""A recipe comes from outside, and trtexec has options that load any library or write any file."""
_SHAPE = r"[^,:'\s]+(?::\d+)?:\d+(?:x\d+)*"
_REASONS = 3

Shape = Tuple[int, ...]


class Program(NamedTuple):
    """A trtexec: `version` of its TensorRT ("10.3.0", None before 7.2 or so), `options` that it has."""

    path: str
    version: Optional[str]
    options: FrozenSet[str]

    @property
    def narrow(self) -> bool:
        """Whether its engines take and give int32 where the model has int64, as before TensorRT 10."""
        return self.version is None or int(self.version.split(".")[0]) < 10


class Run(NamedTuple):
    """How one trtexec is to infer: `inputs` by name as files of the folder in which it runs, and `shapes` of
    those where the engine leaves them open; at least so many iterations and milliseconds."""

    engine: str
    inputs: Dict[str, str]
    shapes: Dict[str, Shape]
    iterations: int = 1
    milliseconds: int = 0


def parse_version(text: str) -> Optional[str]:
    """ "10.3.0" of a banner ("[TensorRT v100300]", "[TensorRT v8502]") or of a log's own line; None where the
    text says nothing of it."""
    said = re.search(r"TensorRT version: (\d+\.\d+\.\d+)", text)
    if said:
        return said.group(1)
    banner = re.search(r"TensorRT\.trtexec \[TensorRT v(\d{4,6})\]", text)
    if banner is None:
        return None
    number = int(banner.group(1))
    # NV_TENSORRT_VERSION: major * 10000 + minor * 100 + patch from 10 on, major * 1000 before.
    unit = 10_000 if number >= 100_000 else 1000
    return "%d.%d.%d" % (number // unit, number % unit // 100, number % 100)


def parse_options(text: str) -> FrozenSet[str]:
    """The options that a --help lists."""
    return frozenset(re.findall(r"^\s*(--\w+)", text, re.M)) | frozenset(re.findall(r", (--\w+) ", text))


def parse_passed(text: str) -> Optional[bool]:
    """trtexec's own verdict on its run, the last in the text; None where there is none: it was cut off."""
    found = re.findall(r"^&&&& (PASSED|FAILED) TensorRT\.trtexec", text, re.M)
    return found[-1] == "PASSED" if found else None


def parse_device(text: str) -> Optional[str]:
    """The GPU that a log names: "Orin"."""
    found = re.search(r"Selected Device: (.*\S)", text)
    return found.group(1) if found else None


def parse_build_seconds(text: str) -> Optional[float]:
    """How long building the engine took, by the log."""
    found = re.search(r"Engine built in ([\d.]+) sec", text)
    return float(found.group(1)) if found else None


def parse_reasons(text: str) -> List[str]:
    """What went wrong, by the log: its first errors, each once, and without the time and the source's line.

    The first name the cause; the last are what follows from it ("Engine set up failed").
    """
    found: List[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        error = re.match(r"(?:\[[\d/:-]+\] )?\[E\] (.*)", line) or re.match(r"(ERROR: .*)", line)
        error = error or re.match(r"trtexec: .*: (Assertion `.*' failed)\.", line)
        if error is None:
            continue
        words = re.sub(r"^(?:\[TRT\] |Error\[\d+\]: |\d+: )+", "", error.group(1)).strip()
        if re.search(r"In function \w+:$", words) and number + 1 < len(lines):
            words = lines[number + 1].strip()  # the parser puts what it means on a line of its own
        if re.search(r"--- (Begin|End) node ---", words):
            continue
        words = re.sub(r"^\[?[\w./]+\.(?:cpp|h)(?:::?[\w:]+)*\]?:? ?", "", words)
        if words and words not in found:
            found.append(words)
    return found[:_REASONS]


def parse_outputs(text: str) -> Dict[str, Tuple[Shape, List[Any]]]:
    """A file of --exportOutput: name to (shape, values in order). Raises ValueError where it is none.

    C++ writes numbers that are none as nan and inf, which JSON has not.
    """
    plain = re.sub(r'("values" : \[)([^\]]*)', lambda m: m.group(1) + _numbers(m.group(2)), text)
    found: Dict[str, Tuple[Shape, List[Any]]] = {}
    for entry in _records(plain, "outputs"):
        name, sizes, values = entry.get("name"), entry.get("dimensions"), entry.get("values")
        if not isinstance(name, str) or not isinstance(sizes, str) or not isinstance(values, list):
            raise ValueError("an output without name, dimensions or values")
        shape = tuple(int(size) for size in sizes.split("x") if size)
        count = 1
        for size in shape:
            count *= size
        if count != len(values):
            raise ValueError("output %r has %d values for the shape %s" % (name, len(values), sizes))
        found[name] = shape, values
    return found


def parse_times(text: str) -> List[int]:
    """A file of --exportTimes: each inference's latency in nanoseconds, transfers to the GPU and back
    included. Raises ValueError where it is none."""
    found = []
    for entry in _records(text, "times"):
        latency = entry.get("latencyMs")
        if not isinstance(latency, (int, float)) or not latency > 0:
            raise ValueError("an inference without a latency")
        found.append(round(latency * 1e6))
    return found


def parse_profile(text: str) -> Dict[str, int]:
    """A file of --exportProfile: each layer's mean nanoseconds. Raises ValueError where it is none."""
    found: Dict[str, int] = {}
    for entry in _records(text, "profile"):
        if "name" in entry:  # the first has the count of iterations instead
            name, mean = str(entry["name"]), entry.get("averageMs")
            if not isinstance(mean, (int, float)):
                raise ValueError("a layer without its time")
            found[name] = found.get(name, 0) + round(mean * 1e6)
    return found


def _records(text: str, what: str) -> List[Dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("trtexec's file of %s is no JSON: %s" % (what, error)) from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("trtexec's file of %s is no list of objects" % what)
    return value


def _numbers(values: str) -> str:
    return re.sub(r"\bnan\b", "NaN", values.replace("-nan", "nan")).replace("inf", "Infinity")


def parse_shapes(arguments: Sequence[str]) -> Dict[str, Shape]:
    """The shapes that a recipe fixes where the model leaves them open, by input; none where it has none."""
    found: Dict[str, Shape] = {}
    for argument in arguments:
        if argument.startswith("--shapes="):
            for entry in argument.partition("=")[2].split(","):
                name, _, sizes = entry.rpartition(":")
                found[name] = tuple(int(size) for size in sizes.split("x"))
    return found


def refused(arguments: Sequence[str]) -> Optional[str]:
    """The first of a recipe's arguments that edgefreeze does not pass on, None where all may be."""
    if list(arguments[:2]) != [MODEL, ENGINE]:
        return " ".join(arguments[:2])
    for argument in arguments[2:]:
        name, _, value = argument.partition("=")
        if argument in _PRECISIONS:
            continue
        if name not in _VALUES or re.fullmatch(_allowed(name), value) is None:
            return argument
    return None


def _allowed(name: str) -> str:
    if name.lower().endswith("shapes"):
        return "%s(?:,%s)*" % (_SHAPE, _SHAPE)
    return r"[\w:,.]+"


def build_command(program: Program, arguments: Sequence[str], engine: str, timings: str) -> List[str]:
    """How an engine is built of a recipe, whose folder is the working one: into the file `engine`, with the
    timings of kernels that an earlier build kept in the file `timings`."""
    command = [program.path, MODEL, "--saveEngine=" + engine, *arguments[2:]]
    if "--timingCacheFile" in program.options:
        command.append("--timingCacheFile=" + timings)
    for option in ("--skipInference", "--buildOnly"):  # since 8.5, and before
        if option in program.options:
            return [*command, option]
    return command


def run_command(program: Program, run: Run, *exports: str) -> List[str]:
    """How an engine infers, in a folder with its inputs. exports: options that name files to be written.

    One inference at a time, whose transfers do not overlap with the next one's; no warm-up, which versions
    leave out of their files in different ways.
    """
    command = [
        program.path,
        "--loadEngine=" + run.engine,
        "--loadInputs=" + ",".join("%s:%s" % item for item in run.inputs.items()),
        "--iterations=%d" % run.iterations,
        "--duration=%g" % (run.milliseconds / 1000),
        "--warmUp=0",
        *exports,
    ]
    if run.shapes:
        sizes = ("%s:%s" % (name, "x".join(map(str, shape))) for name, shape in run.shapes.items())
        command.insert(2, "--shapes=" + ",".join(sizes))
    if "--exposeDMA" in program.options:
        command.append("--exposeDMA")
    return command
