"""One side of a comparison: a model, an artifact, or an artifact of a release, run in a fresh process in its
own runtime. A side gives cases: inputs and its outputs for them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze import logs
from edgefreeze.conversion import stages
from edgefreeze.device.tensors import decode, decode_golden, encode, encode_golden
from edgefreeze.difference.places import Here, Place, There, released
from edgefreeze.errors import Failure
from edgefreeze.inspection import onnx_file, report, tflite
from edgefreeze.inspection.tflite import Quantisation
from edgefreeze.progress import Progress
from edgefreeze.release import manifest
from edgefreeze.ship.trial import Infer
from edgefreeze.text import short
from edgefreeze.transport.client import Helper
from edgefreeze.types import Tensor
from edgefreeze.worker import client, golden, matching, samples
from edgefreeze.worker.answer import typed
from edgefreeze.worker.sources import Source

Arrays = dict[str, np.ndarray[Any, Any]]
Case = tuple[Arrays, Arrays]
RUNTIMES = {"tflite": "tflite", "onnx": "onnxruntime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The other side's inputs: their ends, and the cases of which only the inputs count."""

    inputs: tuple[Tensor, ...]
    cases: list[Case]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a side computed: its ends, inputs and outputs case by case, where the inputs come from."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    cases: list[Case]
    method: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which part of a side is meant: a signature or tags of a SavedModel, ends of a graph, a format of a
    release."""

    signature: str | None = None
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    format: str | None = None
    custom_objects: tuple[str, ...] = ()
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Whatever TensorFlow loads: it runs in a worker of its own."""

    path: Path
    kind: str
    static: tuple[Tensor, ...]
    choice: Choice

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def answer(self, given: Given | None, samples_at: Path | None, progress: Progress) -> Answer:
        """Run it: on the other's inputs, on samples, or on inputs that are drawn.

        Raises Failure: what loading raises, samples-bad, not-comparable.
        """
        with tempfile.TemporaryDirectory(prefix="edgefreeze-verify-") as folder:
            out = Path(folder) / "answer" / "cases.npz"
            request = {**request_of(self.path, self.choice), "op": "answer", "out": str(out)}
            request["samples"] = str(samples_at) if samples_at else None
            if given is not None:
                cases = Path(folder) / "given.npz"
                cases.write_bytes(encode_golden([(inputs, {}) for inputs, _ in given.cases]))
                request["given"] = {"cases": str(cases), "inputs": described(given.inputs)}
            result = client.run(request, on_event=stages(progress), log=logs.new("verify"))
            return Answer(
                inputs=matching.ends(result["inputs"]),
                outputs=matching.ends(result["outputs"]),
                cases=decode_golden(out.read_bytes()),
                method=_method(result["golden"]),
                warnings=result["warnings"],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file or folder with a runtime of its own: it runs in the device's own runner.

    inputs, outputs: as the runtime has them. Those with a scale are shown to the other side as the real
    numbers that they stand for.
    """

    path: Path
    kind: str
    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    scales: dict[str, Quantisation] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=Here)
    golden: Path | None = None
    """Of a release: the inputs that it was proved on, which are typical where it was calibrated."""

    @property
    def name(self) -> str:
        """Its path, and where it runs if that is not here."""
        return str(self.path) if self.place.name is None else f"{self.path} on {self.place.name}"

    @property
    def static(self) -> tuple[Tensor, ...]:
        """The inputs, as real numbers."""
        return tuple(self._real(t) for t in self.inputs)

    def described(self) -> dict[str, Any]:
        """As a runner wants it (see device/runtimes)."""
        ends = {"inputs": described(self.inputs), "outputs": described(self.outputs)}
        return {"runtime": self.runtime, "format": self.kind, **ends, **self.extra}

    def answer(self, given: Given | None, samples_at: Path | None, progress: Progress) -> Answer:
        """Run it: on the other's inputs, on samples, or on inputs that are drawn.

        Raises Failure runtime-failed, samples-bad, not-comparable.
        """
        progress.step("evaluate", f"running {self.path.name} in {self.runtime}")
        warnings = [
            f"{t.name!r} is {t.dtype} with a scale: compared as the real numbers that it stands for"
            for t in (*self.inputs, *self.outputs)
            if self.scale(t) is not None
        ]
        with self.place.opened(self, progress) as infer:
            cases, method, more = self._cases(lambda inputs: self.run(infer, inputs), given, samples_at)
        outputs = tuple(self._real(t) for t in self.outputs)
        return Answer(
            inputs=self.static, outputs=outputs, cases=cases, method=method, warnings=warnings + more
        )

    def _cases(
        self, run: Any, given: Given | None, samples_at: Path | None
    ) -> tuple[list[Case], str, list[str]]:
        inputs = self.static
        if given is not None:
            matched, warnings = matching.pairs(inputs, given.inputs, "input", all_of_mine=True)
            mine = [typed(matching.arranged(i, matched), inputs) for i, _ in given.cases]
            return [(i, matching.in_batches(run, i, inputs)) for i in mine], "the other's inputs", warnings
        if samples_at is None and self.golden is not None:
            made_before = [typed(i, inputs) for i, _ in decode_golden(self.golden.read_bytes())]
            method = f"{len(made_before)} golden inputs of the release"
            return [(i, matching.in_batches(run, i, inputs)) for i in made_before], method, []
        calls = samples.calls(samples_at, inputs, 1) if samples_at else None
        outputs = tuple(self._real(t) for t in self.outputs)
        source = Source(
            function=None,
            inputs=inputs,
            outputs=outputs,
            signature=None,
            save=lambda _: None,
            save_method="",
            runner=run,
        )
        made = golden.make(source, calls)
        return list(zip(made.inputs, made.outputs, strict=True)), made.data.text, []

    def scale(self, tensor: Tensor) -> Quantisation | None:
        """The scale of an end that is an integer and stands for real numbers; None for any other."""
        found = self.scales.get(tensor.tensor)
        integer = tensor.dtype in ("int8", "uint8", "int16")
        return found if found is not None and integer and len(found.scales) == 1 else None

    def _real(self, tensor: Tensor) -> Tensor:
        return replace(tensor, dtype="float32") if self.scale(tensor) is not None else tensor

    def run(self, infer: Infer, inputs: Arrays) -> Arrays:
        """One inference, inputs and outputs as real numbers."""
        fed = {t.name: quantised(inputs[t.name], self.scale(t), t.dtype) for t in self.inputs}
        try:
            found = decode(infer(encode(fed)))
            return {t.name: dequantised(found[t.name], self.scale(t)) for t in self.outputs}
        except (KeyError, ValueError) as error:
            raise Failure("protocol", f"{self.name}: what came back is not its outputs: {error}") from None


def side(path: Path, choice: Choice) -> Model | Artifact:
    """What is at a path. Raises Failure as inspection.report.kind_of, no-artifact, bad-manifest."""
    if (path / "manifest.json").is_file():
        return _of_release(path, choice.format)
    kind = report.kind_of(path)
    if kind == "tflite":
        return _tflite(path, tflite.read(path), choice.signature)
    if kind == "onnx":
        file = onnx_file.read(path)
        return Artifact(
            path=path, kind=kind, runtime=RUNTIMES[kind], inputs=file.inputs, outputs=file.outputs
        )
    found, _ = report.inspect(
        path, signature=choice.signature, tags=choice.tags or None, outputs=choice.outputs
    )
    return Model(path=path, kind=kind, static=found.inputs, choice=choice)


def on_device(path: Path, choice: Choice, place: There) -> Artifact:
    """What is at a path, to be run on a device. Raises Failure as `side`, model-unsupported where it is no
    artifact."""
    found = side(path, choice)
    if isinstance(found, Artifact):
        return replace(found, place=place)
    runs_in = {"frozen_graph": ("frozen_pb", "tf_frozen"), "saved_model": ("saved_model", "tf_saved_model")}
    if found.kind not in runs_in:
        raise Failure(
            "model-unsupported",
            f"{path} is a model, and a device runs artifacts.",
            expected="a .tflite, .onnx or frozen .pb file, a SavedModel, or a release folder",
            found=found.kind,
            next=f"edgefreeze build {path} --target {place.target.name} -o release",
        )
    read, _ = report.inspect(
        path, signature=choice.signature, tags=choice.tags or None, outputs=choice.outputs
    )
    kind, runtime = runs_in[found.kind]
    return Artifact(
        path=path,
        kind=kind,
        runtime=runtime,
        inputs=tuple(t for t in read.inputs if not choice.inputs or t.name in choice.inputs),
        outputs=read.outputs,
        extra={"signature": read.signature},
        place=place,
    )


@contextmanager
def of_app(
    helper: Helper, app: str, release: str | None, wanted: str | None, threads: int
) -> Iterator[Artifact]:
    """An artifact of a release that is on a device. Raises Failure as places.released."""
    with released(helper, app, release, wanted, threads) as (found, place):
        yield Artifact(
            path=Path(f"{app} {short(found.release)} {found.format}"),
            kind=found.format,
            runtime=found.runtime,
            inputs=found.inputs,
            outputs=found.outputs,
            place=place,
        )


def quantised(array: Any, scale: Quantisation | None, dtype: str) -> Any:
    """Real numbers as integers: round(real / scale) + zero point, clamped."""
    if scale is None:
        return array
    info = np.iinfo(dtype)
    values = np.round(array / scale.scales[0]) + (scale.zero_points or (0,))[0]
    return np.clip(values, info.min, info.max).astype(dtype)


def dequantised(array: Any, scale: Quantisation | None) -> Any:
    """Integers as the real numbers that they stand for, along the axis where there are several scales."""
    if scale is None or array.dtype.kind not in "iu":
        return array
    scales, zeros = np.asarray(scale.scales), np.asarray(scale.zero_points or (0,))
    if scales.size > 1:
        shape = [1] * array.ndim
        shape[scale.axis] = scales.size
        scales, zeros = scales.reshape(shape), np.broadcast_to(zeros, scales.size).reshape(shape)
    return ((array.astype(np.float64) - zeros) * scales).astype(np.float32)


def request_of(path: Path, choice: Choice) -> dict[str, Any]:
    """What the worker needs to load a model."""
    return {
        "model": str(path),
        "signature": choice.signature,
        "tags": list(choice.tags) or None,
        "inputs": list(choice.inputs) or None,
        "outputs": list(choice.outputs) or None,
        "custom_objects": list(choice.custom_objects),
        "trust": choice.trust,
    }


def described(ends: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Ends for a request."""
    return [
        {
            "name": t.name,
            "tensor": t.tensor,
            "dtype": t.dtype,
            "shape": list(t.shape) if t.shape is not None else None,
        }
        for t in ends
    ]


def _method(data: dict[str, Any]) -> str:
    return (
        data["method"]
        if data["source"] == "samples"
        else f"{data['cases']} {data['source']}: {data['method']}"
    )


def _tflite(path: Path, file: tflite.File, signature: str | None) -> Artifact:
    ends = (file.inputs, file.outputs)
    if signature is not None and signature not in file.signatures:
        raise Failure(
            "model-signature-choice",
            f"{path} has no signature {signature!r}.",
            expected=", ".join(file.signatures) or "none: it has no signatures",
            found=signature,
        )
    if file.signatures:
        ends = file.signatures[signature or next(iter(sorted(file.signatures)))]
    return Artifact(
        path=path,
        kind="tflite",
        runtime=RUNTIMES["tflite"],
        inputs=ends[0],
        outputs=ends[1],
        scales=file.quantisation,
    )


def _of_release(folder: Path, wanted: str | None) -> Artifact:
    release = manifest.load(folder)
    names = [a.key for a in release.artifacts]
    if wanted is not None and wanted not in names:
        raise Failure(
            "no-artifact",
            f"The release {folder} has no {wanted}.",
            expected=", ".join(names),
            found=wanted,
        )
    found = next((a for a in release.artifacts if a.key == wanted), release.primary)
    assert found.path is not None
    assert found.runtime is not None
    path = folder / found.path
    return Artifact(
        path=path,
        kind=found.format,
        runtime=found.runtime,
        inputs=found.inputs,
        outputs=found.outputs,
        scales=tflite.read(path).quantisation if found.format == "tflite" else {},
        extra={"init_ops": list(found.init_ops), "signature": found.signature},
        golden=folder / manifest.GOLDEN if json.loads(release.envelope_text)["golden"]["cases"] else None,
    )
