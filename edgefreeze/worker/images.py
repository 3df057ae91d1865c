"""A folder of images as arrays for a model's input: decoded with Pillow, resized, scaled.

The folder has images (.jpg, .jpeg, .png, .bmp), or a folder for each class with its images. Labels are the
classes' numbers in the order of their folders' names, or stand in labels.csv or labels.txt beside the images:
a line "FILE,LABEL" (or a space or tab between) for each, the label a whole number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.errors import Failure, nearest
from edgefreeze.text import clean
from edgefreeze.types import Tensor

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
LABELS = ("labels.csv", "labels.txt")
_DTYPES = ("float32", "uint8")
_CHANNELS = {1: "L", 3: "RGB"}
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's pixels in 0..1, as torchvision and Keras ("torch" mode) have them."""
_SCALES: dict[str, Callable[[Array], Array]] = {
    "0..255": lambda pixels: pixels,
    "0..1": lambda pixels: pixels / np.float32(255),
    "-1..1": lambda pixels: pixels / np.float32(127.5) - np.float32(1),
    "imagenet": lambda pixels: (pixels / np.float32(255) - _MEAN) / _DEVIATION,
}
NORMALISATIONS = tuple(_SCALES)
_LINE = re.compile(r"(?P<file>.+)(?:\s*[,;\t]\s*|\s+)(?P<label>[^\s,;]+)")
"""A name may have blanks and commas: what stands last is the label."""


def is_images(path: Path) -> bool:
    """Whether a path is a folder that holds images, itself or in folders of classes."""
    return path.is_dir() and (bool(_images(path)) or any(_images(p) for p in _classes(path)))


def takes_images(tensor: Tensor) -> bool:
    """Whether an input is images: [N, H, W, C] of float32 or uint8, with a size and 1 or 3 channels."""
    shape = tensor.shape
    if tensor.dtype not in _DTYPES or shape is None or len(shape) != 4:
        return False
    return None not in shape[1:] and shape[3] in _CHANNELS


def read(folder: Path, tensor: Tensor, normalise: str | None = None) -> tuple[Array, Array | None]:
    """(images [N, H, W, C] in the input's dtype, labels [N] int64 or None) of a folder, by file name.

    normalise: one of NORMALISATIONS, what pixels 0..255 become; None: 0..255 for uint8, 0..1 for float32.
    "imagenet" takes the mean off and divides by the deviation of each channel. Resized bilinearly, with
    antialiasing where images shrink, and without regard to their proportions.

    Raises Failure samples-bad: an image or a line that cannot be read, by its file; no images; labels for
    some only; an input that takes no images; Pillow is missing.
    """
    scale = _scale(tensor, normalise)
    if not takes_images(tensor):
        sizes = None if tensor.shape is None else ["any" if d is None else d for d in tensor.shape]
        raise Failure(
            "samples-bad",
            f"The folder {folder} has images, and the input {tensor.name!r} takes none.",
            expected="an input [N, height, width, 1 or 3] of float32 or uint8",
            found=f"{tensor.dtype} {sizes or 'of any shape'}",
            next="numpy.savez(FILE, input_name=array)",
        )
    files, labels = _files(folder)
    _, height, width, channels = tensor.shape or ()
    dtype = np.dtype(tensor.dtype)
    images = [scale(_decoded(f, height or 0, width or 0, channels or 0)).astype(dtype) for f in files]
    return np.stack(images), labels


def _scale(tensor: Tensor, normalise: str | None) -> Callable[[Array], Array]:
    name = normalise or ("0..255" if tensor.dtype == "uint8" else "0..1")
    if name not in _SCALES:
        near = nearest(name, NORMALISATIONS)
        raise Failure(
            "usage",
            f"There is no normalisation {name!r}" + (f"; did you mean {near!r}?" if near else "."),
            expected=", ".join(NORMALISATIONS),
            found=name,
        )
    if tensor.dtype == "uint8" and name != "0..255":
        raise Failure(
            "usage",
            f"The input {tensor.name!r} is uint8, which holds pixels as they are.",
            expected="0..255",
            found=name,
        )
    return _SCALES[name]


def _decoded(file: Path, height: int, width: int, channels: int) -> Array:
    """float32 [height, width, channels], 0..255; whole numbers."""
    try:
        from PIL import Image
    except ImportError as error:
        raise Failure(
            "samples-bad",
            "Folders of images need Pillow, which is not installed beside edgefreeze.",
            expected="the packages of the extra 'convert'",
            found=clean(str(error), 200),
            next="pip install 'edgefreeze[convert]'",
        ) from error
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError("it has more than 8 bits for each channel")
            small = image.convert(_CHANNELS[channels]).resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise Failure(
            "samples-bad",
            f"The image {file} cannot be read.",
            expected="a whole " + ", ".join(s.removeprefix(".") for s in SUFFIXES) + " file",
            found=f"{type(error).__name__}: {clean(str(error), 200)}",
        ) from error
    return np.asarray(small, np.float32).reshape(height, width, channels)


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and _seen(p))


def _classes(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and _seen(p))


def _seen(path: Path) -> bool:
    return not path.name.startswith(".")


def _files(folder: Path) -> tuple[list[Path], Array | None]:
    """(files, labels) as the folder is laid out."""
    flat, classes = _images(folder), _classes(folder)
    deep = [(number, file) for number, place in enumerate(classes) for file in _images(place)]
    if not flat and not deep:
        raise Failure(
            "samples-bad",
            f"The folder {folder} has no images.",
            expected="files that end in " + ", ".join(SUFFIXES) + ", or a folder of such for each class",
            found=", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing",
        )
    if flat and deep:
        raise Failure(
            "samples-bad",
            f"The folder {folder} has images both in itself and in folders of classes.",
            expected="one or the other",
            found=f"{len(flat)} and {len(deep)}",
        )
    if deep:
        return [file for _, file in deep], np.array([number for number, _ in deep], np.int64)
    beside = next((folder / name for name in LABELS if (folder / name).is_file()), None)
    return flat, _labels(beside, flat) if beside else None


def _labels(path: Path, files: Sequence[Path]) -> Array:
    """The labels of the files, from lines of their names."""
    known = {file.name for file in files}
    found: dict[str, int] = {}
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unlabelled(path, "lines of text", clean(str(error), 200)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        name, label = (match["file"], match["label"]) if match else (line.strip(), "")
        name, label = name.rstrip(" \t,;").strip('"'), label.strip('"')
        if number == 1 and name not in known and not label.lstrip("+-").isdecimal():
            continue  # a heading
        if name not in known:
            raise _unlabelled(path, "the name of an image beside it", f"line {number}: {clean(name, 100)}")
        if not label.isdecimal():
            raise _unlabelled(path, "a whole number after the name", f"line {number}: {clean(line, 100)}")
        found[name] = int(label)
    missing = [file.name for file in files if file.name not in found]
    if missing:
        raise _unlabelled(path, "a line for each image", f"none for {missing[0]}")
    return np.array([found[file.name] for file in files], np.int64)


def _unlabelled(path: Path, expected: str, found: str) -> Failure:
    return Failure("samples-bad", f"The labels {path} cannot be used.", expected=expected, found=found)
