"""A user's data for a model: by the signature's input names, cut into calls that the model takes.

.npz         arrays by input name, rows cut into batches; or golden data (keys "0|in|NAME"), a call per case
.npy         one array, for a model with one input
a folder     each file's bytes are one element of the model's one string input, in the order of their names;
             or images for its one input of images (see images.py)
JSON lines   a call per line: {input: value}; a value that lacks the batch dimension gets one; bytes that are
             no text are {"b64": "..."}
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.device import tensors
from edgefreeze.errors import Failure, nearest
from edgefreeze.text import clean
from edgefreeze.types import Tensor
from edgefreeze.worker import images

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

_GOLDEN_KEY = re.compile(r"\d+\|(in|out)\|.+")
_READABLE = (
    "an .npz or .npy file without pickled objects, a folder of files, or JSON lines, named by the model's "
    "inputs"
)


def calls(path: Path, inputs: Sequence[Tensor], rows: int, normalise: str | None = None) -> list[Arrays]:
    """The samples at a path as calls of the model; see `batches` for how arrays are cut.

    normalise: what pixels of images become (see images.NORMALISATIONS). Raises Failure samples-bad.
    """
    if path.is_dir():
        return batches(_folder(path, inputs, normalise)[0], inputs, rows)
    data = _read(path)
    if data.startswith(b"\x93NUMPY"):
        return batches({_only(path, inputs).name: _npy(path, data)}, inputs, rows)
    if data.lstrip()[:1] == b"{":
        return _lines(path, data, inputs)
    samples = _npz(path, data)
    if samples and all(_GOLDEN_KEY.fullmatch(key) for key in samples):
        cases = tensors.decode_golden(data)
        return [call for given, _ in cases for call in _whole(given, inputs)]
    return batches(samples, inputs, rows)


def labelled(
    path: Path, inputs: Sequence[Tensor], normalise: str | None = None
) -> tuple[Arrays, np.ndarray | None]:
    """(arrays by input, the true classes or None) of an .npz, under "label" there, or of a folder of images.

    Raises Failure samples-bad.
    """
    if path.is_dir():
        return _folder(path, inputs, normalise)
    arrays = dict(_npz(path, _read(path)))
    return arrays, arrays.pop("label", None)


def read_samples(path: Path) -> Arrays:
    """The arrays of an .npz (see device/tensors.py for strings). Raises Failure samples-bad."""
    return _npz(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _npz(path: Path, data: bytes) -> Arrays:
    try:
        return tensors.decode(data)
    except tensors.TensorError as error:
        raise _unreadable(path, error) from error


def _npy(path: Path, data: bytes) -> np.ndarray:
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise _unreadable(path, error) from error
    return tensors.as_bytes(array) if array.dtype.kind in "SU" else array


def _unreadable(path: Path, error: Exception) -> Failure:
    return Failure(
        "samples-bad",
        f"The samples {path} cannot be read.",
        expected=_READABLE,
        found=f"{type(error).__name__}: {clean(str(error), 200)}",
        next="numpy.savez(FILE, input_name=array)",
    )


def _only(path: Path, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) != 1:
        raise Failure(
            "samples-bad",
            f"{path} is one array, and the model has {len(inputs)} inputs.",
            expected="an .npz with " + ", ".join(t.name for t in inputs),
            found="an array without a name",
            next="numpy.savez(FILE, input_name=array, ...)",
        )
    return inputs[0]


def _folder(path: Path, inputs: Sequence[Tensor], normalise: str | None) -> tuple[Arrays, np.ndarray | None]:
    """(arrays by input, labels where a folder of images has them)."""
    texts = [t for t in inputs if t.dtype == "string"]
    if len(inputs) == 1 and not texts and images.is_images(path):
        pictures, labels = images.read(path, inputs[0], normalise)
        return {inputs[0].name: pictures}, labels
    if len(inputs) != 1 or len(texts) != 1:
        raise Failure(
            "samples-bad",
            f"{path} is a folder of files, which are the bytes of a model's one string input, or images for "
            "its one input of images.",
            expected="a model with one input, of strings or images",
            found=", ".join(f"{t.name}: {t.dtype}" for t in inputs),
            next="numpy.savez(FILE, input_name=array)",
        )
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise Failure(
            "samples-bad", f"The folder {path} has no samples.", expected="a file for each", found="no file"
        )
    array = np.empty(len(files), dtype=object)
    array[:] = [_read(file) for file in files]
    shape = texts[0].shape
    return {texts[0].name: array if not shape else array.reshape(-1, *[1 for _ in shape[1:]])}, None


def _lines(path: Path, data: bytes, inputs: Sequence[Tensor]) -> list[Arrays]:
    found: list[Arrays] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if not isinstance(given, dict):
                raise ValueError("no object")
            call = {str(key): _array(value) for key, value in given.items()}
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise Failure(
                "samples-bad",
                f"Line {number} of the samples {path} cannot be read.",
                expected='an object such as {"input": [[1.0, 2.0]]} or {"text": {"b64": "..."}}',
                found=clean(str(error), 200),
            ) from error
        found += _whole(call, inputs)
    return found


def _whole(call: Arrays, inputs: Sequence[Tensor]) -> list[Arrays]:
    """One call as it is: its values with a batch dimension where one is missing, in the inputs' dtypes."""
    _require_names(call, inputs)
    ready: Arrays = {}
    for tensor in inputs:
        array, shape = call[tensor.name], tensor.shape
        if array.dtype.kind in "iu" and tensor.dtype.startswith(("float", "bfloat")):
            array = array.astype(np.float64)
        array = _typed(tensor, array)
        if shape and array.ndim == len(shape) - 1:
            array = array[None]
        if shape is not None and (
            array.ndim != len(shape)
            or any(s not in (None, n) for s, n in zip(shape, array.shape, strict=True))
        ):
            raise _unfit(tensor, array)
        ready[tensor.name] = array
    return [ready]


def _array(value: Any) -> np.ndarray:
    """A JSON value as an array; strings as objects that hold bytes. Raises ValueError if it is jagged."""
    if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"}):
        return np.array(_bytes(value), dtype=object)
    if any(isinstance(item, (str, dict)) for item in _flat(value)):
        shape = np.shape(_map(value, lambda _: 0))
        array = np.empty(int(np.prod(shape)), dtype=object)
        array[:] = [_bytes(item) for item in _flat(value)]
        return array.reshape(shape)
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{clean(json.dumps(value), 60)} is no array of numbers or strings")
    return array


def _map(value: Any, function: Any) -> Any:
    return [_map(item, function) for item in value] if isinstance(value, list) else function(value)


def _flat(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list) else [value]


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    raise ValueError(f"{clean(json.dumps(value), 60)} is no string")


def batches(samples: Arrays, inputs: Sequence[Tensor], rows: int) -> list[Arrays]:
    """The samples as calls of the model: `rows` rows at a time where the batch is free (the last may be
    fewer), a fixed batch as it is. An input that has no batch is given once for all calls, or once per call.

    Raises Failure samples-bad, naming the input, and the nearest one for an unknown name.
    """
    _require_names(samples, inputs)
    names = [t.name for t in inputs]
    pieces = {t.name: _pieces(t, samples[t.name], rows) for t in inputs}
    free = {len(samples[t.name]) for t in inputs if t.shape and t.shape[0] is None}
    count = max(len(parts) for parts in pieces.values())
    if len(free) > 1 or any(len(parts) not in (1, count) for parts in pieces.values()):
        raise Failure(
            "samples-bad",
            "The samples of the inputs differ in their number of rows.",
            expected="the same number for every input",
            found=", ".join(f"{name}: {list(np.shape(samples[name]))}" for name in names),
        )
    return [
        {n: parts[i] if len(parts) > 1 else parts[0] for n, parts in pieces.items()} for i in range(count)
    ]


def _require_names(samples: Arrays, inputs: Sequence[Tensor]) -> None:
    """Raise Failure samples-bad unless the keys are the inputs' names."""
    names = [t.name for t in inputs]
    for key in samples:
        if key not in names:
            near = nearest(key, names)
            raise Failure(
                "samples-bad",
                f"The samples have {key!r}, which is no input of the model"
                + (f"; did you mean {near!r}?" if near else "."),
                expected=", ".join(names),
                found=", ".join(samples),
            )
    for name in names:
        if name not in samples:
            raise Failure(
                "samples-bad",
                f"The samples lack the input {name!r}.",
                expected=", ".join(names),
                found=", ".join(samples) or "nothing",
            )


def _pieces(tensor: Tensor, given: np.ndarray, rows: int) -> list[np.ndarray]:
    array = _typed(tensor, given)
    shape = tensor.shape
    if shape is None:
        return [array]
    if shape == ():
        if array.ndim > 1 or array.size == 0:
            raise _unfit(tensor, given)
        # Not asarray of a value: NumPy's own strings lose NULs at their end.
        return [piece.reshape(()) for piece in np.split(array.reshape(-1), array.size)]
    if array.ndim != len(shape) or any(
        s not in (None, n) for s, n in zip(shape[1:], array.shape[1:], strict=True)
    ):
        raise _unfit(tensor, given)
    step = shape[0] if shape[0] is not None else rows
    if len(array) == 0 or (shape[0] is not None and len(array) % step):
        raise _unfit(tensor, given)
    return [array[i : i + step] for i in range(0, len(array), step)]


def _typed(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """The array in the input's dtype, where the kind (float, integer, …) is the same."""
    if tensor.dtype == "string":
        if array.dtype.kind not in "SUO":
            raise _unfit(tensor, array)
        return array
    wanted = np.dtype(tensor.dtype)
    if array.dtype.kind not in wanted.kind + (
        "i" if wanted.kind == "u" else "u" if wanted.kind == "i" else ""
    ):
        raise _unfit(tensor, array)
    typed = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(typed, array):
        raise _unfit(tensor, array)
    return typed


def _unfit(tensor: Tensor, array: np.ndarray) -> Failure:
    shape = "any shape" if tensor.shape is None else str(["any" if s is None else s for s in tensor.shape])
    return Failure(
        "samples-bad",
        f"The samples of {tensor.name!r} do not fit the input.",
        expected=f"{tensor.dtype} {shape}",
        found=f"{array.dtype} {list(array.shape)}",
    )
