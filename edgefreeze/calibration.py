"""Data on which ranges of activations are measured: what can be said of it before a model is loaded. Shapes
and types are compared with the model's inputs in the worker."""

from __future__ import annotations

from pathlib import Path

from edgefreeze.errors import Failure

LEAST, USUAL = 2, (100, 500)
"""Rows: fewer than LEAST are refused; USUAL is what TensorFlow's and ONNX Runtime's guides recommend."""
_ARRAYS = (".npz", ".npy")


def missing(key: str) -> Failure:
    """The error of a format that cannot be made without calibration data."""
    return Failure(
        "calibration-missing",
        f"{key} needs calibration data: ranges of activations are measured, not guessed.",
        expected=f"{USUAL[0]} to {USUAL[1]} typical inputs, not of the test set",
        found="no --calibration",
        next="--calibration FILE.npz, FILE.npy or a folder of images",
    )


def check(path: Path) -> None:
    """Raises Failure calibration-bad where nothing can be read, a value is no finite number, or rows are too
    few."""
    if not path.exists():
        raise _bad(path, "there is no such file or folder", found="nothing")
    if path.is_dir():
        count = sum(1 for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        _require(path, count, "files")
        return
    if path.suffix not in _ARRAYS:
        return
    import numpy as np

    from edgefreeze.device import tensors

    try:
        arrays = (
            tensors.decode(path.read_bytes())
            if path.suffix == ".npz"
            else {"": np.load(path, allow_pickle=False)}
        )
    except (OSError, ValueError, EOFError) as error:
        raise _bad(path, "it cannot be read", found=str(error)) from None
    if not arrays:
        raise _bad(path, "it holds no array", found="an empty file")
    for name, array in arrays.items():
        where = f"{name!r}: " if name else ""
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            wrong = int((~np.isfinite(array)).sum())
            raise _bad(path, "it holds NaN or infinity", found=f"{where}{wrong} of {array.size} values")
    _require(path, max((len(a) for a in arrays.values() if a.ndim), default=0), "rows")


def _require(path: Path, count: int, what: str) -> None:
    if count < LEAST:
        raise _bad(path, "it is too little", found=f"{count} {what}")


def _bad(path: Path, why: str, *, found: str) -> Failure:
    return Failure(
        "calibration-bad",
        f"The calibration data {path} cannot be used: {why}.",
        expected=f"typical inputs of the model, {USUAL[0]} to {USUAL[1]} are usual",
        found=found,
        next="numpy.savez(FILE, input_name=array)",
    )
