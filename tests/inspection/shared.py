"""What inspect says of the models that others published, as text that can be kept.

PYTHONPATH=. EDGEFREEZE_MODELS=… python tests/inspection/shared.py   writes golden/ anew; read the difference.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console

from edgefreeze import targets
from edgefreeze.inspection import report
from edgefreeze.report import inspection

GOLDEN = Path(__file__).parent / "golden"
MODELS = (
    "ad01.h5",
    "ad01_upstream_fp32.tflite",
    "assign_tf1",
    "ds_cnn_s.pb",
    "half_plus_three_tf1",
    "half_plus_two_signatures",
    "kws_savedmodel",
    "template_tf1",
    "vww_96.h5",
)


def described(folder: Path, model: str) -> str:
    """The text for a person, then the JSON, of one model."""
    found, _ = report.inspect(folder / model, [targets.load("pi4"), targets.load("x86")])
    found = replace(found, path=model)
    out = io.StringIO()
    console = Console(file=out, width=120, soft_wrap=True, highlight=False)
    for line in inspection.lines(found):
        console.print(line)
    return out.getvalue() + "\n" + json.dumps(msgspec.to_builtins(found), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in MODELS:
        (GOLDEN / f"{name}.txt").write_text(described(Path(os.environ["EDGEFREEZE_MODELS"]), name))
