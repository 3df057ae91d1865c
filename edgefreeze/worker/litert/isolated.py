"""A conversion in a process of its own, since measuring ranges can end the process: TensorFlow's converter
dies of a segmentation fault on the loop of an LSTM, and the other artifacts should live on.

in:     a folder with REQUEST, GRAPH and CALLS.   out: CONVERTED or ERROR in it, and exit status 0.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from edgefreeze.device.child import signal_name
from edgefreeze.device.tensors import decode_golden, encode_golden
from edgefreeze.types import Tensor
from edgefreeze.worker import client
from edgefreeze.worker.calibration import Calibration
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.litert import converting

REQUEST, GRAPH, CALLS = "request.json", "graph.pb", "calls.npz"
CONVERTED, ERROR = "converted.tflite", "error.txt"
DIED = "The process that measured ranges died:"
LONGEST_S = 2 * 3600.0


class ConverterError(Exception):
    """What the converter said, or how it died."""


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    precision: str
    select_ops: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def convert(
    frozen: Frozen, precision: str, calibration: Calibration, select_ops: bool, scratch: Path
) -> bytes:
    """As converting.convert. scratch: a folder for the two processes' files, which are taken away again.

    Raises ConverterError.
    """
    folder = scratch / "converter"
    folder.mkdir()
    request = _Request(
        precision=precision, select_ops=select_ops, inputs=frozen.inputs, outputs=frozen.outputs
    )
    try:
        (folder / REQUEST).write_bytes(msgspec.json.encode(request))
        (folder / GRAPH).write_bytes(frozen.graph.SerializeToString())
        (folder / CALLS).write_bytes(encode_golden([(call, {}) for call in calibration.calls]))
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(folder)],
            env=client.environment(),
            stdin=subprocess.DEVNULL,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode:
            raise ConverterError(f"{DIED} {_ended(done.returncode)}")
        if (folder / ERROR).exists():
            raise ConverterError((folder / ERROR).read_text(encoding="utf-8"))
        return (folder / CONVERTED).read_bytes()
    except subprocess.TimeoutExpired:
        raise ConverterError(f"It took longer than {LONGEST_S:.0f} s.") from None
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _ended(status: int) -> str:
    if status < 0:
        return signal_name(-status)
    return f"exit status {status}"


def _answer(folder: Path) -> None:
    from tensorflow.core.framework import graph_pb2

    request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=_Request)
    frozen = Frozen(
        graph=graph_pb2.GraphDef.FromString((folder / GRAPH).read_bytes()),
        inputs=request.inputs,
        outputs=request.outputs,
        method="",
    )
    calls = [dict(inputs) for inputs, _ in decode_golden((folder / CALLS).read_bytes())]
    calibration = Calibration(calls=calls, given=len(calls))
    try:
        content = converting.convert(frozen, request.precision, calibration, request.select_ops)
    except Exception as error:  # see converting.convert; the other process turns it into a refusal
        (folder / ERROR).write_text(str(error) or type(error).__name__, encoding="utf-8")
    else:
        (folder / CONVERTED).write_bytes(content)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))
