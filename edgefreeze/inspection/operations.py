"""Which operations a format has, from operations.json beside this file.

tflite_builtins  names of BuiltinOperator in the order of TensorFlow Lite's schema.fbs
tflite_from      TensorFlow's operations that the converter turns into builtins (from its legalisation
                 patterns, what it folds or lowers away, and what a sweep over TensorFlow's operations
                 showed, each converted alone); tests convert some and hold it to that. Erf and Erfc only
                 within a GELU, which is where models have them
onnx_from        TensorFlow's operations that tf2onnx has a handler for; a test holds it to the installed one
moving           operations of any format that move or name data and compute nothing
plain_layers     layers of Keras whose operations every format has
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Operations:
    """The content of operations.json."""

    tflite_builtins: tuple[str, ...]
    tflite_from: frozenset[str]
    onnx_from: frozenset[str]
    moving: frozenset[str]
    plain_layers: frozenset[str]


@functools.cache
def table() -> Operations:
    """Read the file, once."""
    found = json.loads(Path(__file__).with_name("operations.json").read_text())
    return Operations(
        tflite_builtins=tuple(found["tflite_builtins"]),
        tflite_from=frozenset(found["tflite_from"]),
        onnx_from=frozenset(found["onnx_from"]),
        moving=frozenset(found["moving"]),
        plain_layers=frozenset(found["plain_layers"]),
    )
