"""The values that flow between the rooms. Frozen, plain, decodable by msgspec; no behaviour but derivations.

Shapes are tuples of int or None (a dimension that is not fixed). Errors (max_abs, max_rel) are those of
edgefreeze.device.parity; times are seconds unless a name ends in _ns or _ms; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgefreeze import formats

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output: `name` is the signature's key, `tensor` the artifact's runtime's name for it."""

    name: str
    tensor: str
    dtype: str
    shape: Shape | None
    """None: unknown rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParity:
    """How one output compares with the original's, worst over all golden cases (see device/parity.py)."""

    name: str
    max_abs: float
    max_rel: float
    """max_abs over the range (max - min over all cases) of the original's output."""
    cosine: float
    top1: float | None
    """Share of rows whose largest element is the same; None where the output has no class axis."""
    tolerance: float
    ok: bool
    reason: str | None = None
    sqnr_db: float | None = None
    """Signal to (quantisation) noise in decibels; None where it is exact, or no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """A comparison of all outputs. `ok` only if every output's is."""

    ok: bool
    max_abs: float
    max_rel: float
    outputs: tuple[OutputParity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PassEffect:
    """What one optimising pass did to the frozen graph: each pair is before and after."""

    name: str
    kept: bool
    nodes: tuple[int, int]
    bytes: tuple[int, int]
    ms: tuple[float, float]
    """The fastest of some calls on this machine with one thread, the session optimising nothing."""
    reason: str | None = None
    """Why it was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One form of the model in a release folder.

    status: "verified" (it ran in its own runtime, in a fresh process, and matched), "unverified" (it
    could not be checked), "refused" (it could not be made, or it did not match; `reason` says why).
    """

    format: str
    precision: str
    status: str
    path: str | None = None
    """Relative to the release folder: a file, or a folder for saved_model."""
    runtime: str | None = None
    """The module in device/runtimes that runs it."""
    built_there: bool = False
    """A recipe that was sound here, of which the device builds what runs: it stays "unverified" here, and the
    device's self-test is its proof."""
    bytes: int | None = None
    sha256: str | None = None
    """Of the file; for a folder, of the canonical list of its files."""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    signature: str | None = None
    """Of a SavedModel: which of its signatures runs."""
    init_ops: tuple[str, ...] = ()
    """Operations to run once after loading (table initialisers)."""
    tolerance: float = 0.0
    """Largest max_rel that passes."""
    tolerances: dict[str, float] = field(default_factory=dict)
    """By output, where another holds for it."""
    parity: Parity | None = None
    reason: str | None = None
    method: str | None = None
    """How it was made, for provenance."""
    notes: tuple[str, ...] = ()
    """What a person should know of it though it passed."""
    passes: tuple[PassEffect, ...] = ()
    """Of a frozen graph: what was tried to make it faster."""
    seconds: float | None = None

    @property
    def key(self) -> str:
        """Its name: "tflite", "tflite:int8"."""
        return formats.key(self.format, self.precision)

    @property
    def provable(self) -> bool:
        """Whether a device's self-test decides on it: it was proved here, or only there it can be."""
        return self.status == "verified" or (self.status == "unverified" and self.built_there)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenData:
    """What the golden inputs are: `source` is "samples", "drawn", or "none" where the model could not be run;
    `method` says which draw it was, or why there is none."""

    source: str
    method: str
    cases: int

    @property
    def text(self) -> str:
        """In a few words: "4 drawn: uniform 0..1", "16 of 64 samples"."""
        return self.method if self.source == "samples" else f"{self.cases} {self.source}: {self.method}"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A variable of the model that became an input of the frozen graph, to be fed with what the call before
    gave in the output; `initial` is what the model starts from, None where it has very many values."""

    variable: str
    input: str
    output: str
    initial: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What the worker made in a folder: artifacts, golden.npz (see device/tensors.py), and from what."""

    model_kind: str
    model_sha256: str
    signature: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    artifacts: tuple[Artifact, ...]
    golden: GoldenData
    versions: dict[str, str]
    peak_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    labels: tuple[str, ...] = ()
    """Names of the classes, where the user gave them."""
    normalise: str | None = None
    """How pixels are prepared for the inputs, where the user said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What the helper's probe found. None: not to be had there. Everything here is untrusted text."""

    machine: str
    """From the interpreter's own ABI, not from uname: "x86_64", "aarch64", "armv7l"."""
    python: str
    python_executable: str
    libc: str
    """ "glibc 2.36", "musl 1.2"."""
    platform: str
    bits: int
    cpu_model: str | None = None
    cpu_features: tuple[str, ...] = ()
    cpu_count: int = 1
    ram_bytes: int | None = None
    ram_available_bytes: int | None = None
    disk_free_bytes: int | None = None
    disk_free_inodes: int | None = None
    board: str | None = None
    os: str | None = None
    kernel: str | None = None
    governor: str | None = None
    cpu_mhz: float | None = None
    temperature_c: float | None = None
    throttled: str | None = None
    load_1m: float | None = None
    swap_used_bytes: int | None = None
    packages: dict[str, str] = field(default_factory=dict)
    """Versions of the runtimes' packages that the interpreter already has."""
    programs: dict[str, str] = field(default_factory=dict)
    """Versions of programs of the board's own that run models ("" where one does not say): "trtexec"."""
    emulated: bool = False
    """Runs under user-mode emulation, as far as can be seen: no latency from it is a device's."""
    hostname: str | None = None
    cpus: tuple[int, ...] = ()
    """Processors that the user's processes may run on there: fewer than there are in a cpuset."""


JSON = dict[str, Any]
