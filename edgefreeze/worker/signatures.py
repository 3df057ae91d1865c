"""Which of a SavedModel's signatures is meant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgefreeze.errors import Failure, nearest

DEFAULT = "serving_default"


def choose(signatures: Mapping[str, str], wanted: str | None, path: Path) -> str:
    """The signature asked for; else serving_default; else the only one.

    signatures: the arguments of each, as text ("x: float32(None, 3)"). Raises Failure model-no-signature,
    model-signature-choice.
    """
    if not signatures:
        raise Failure(
            "model-no-signature",
            f"The SavedModel {path} has no signature, so nothing says what its inputs and outputs are.",
            expected=f"at least one signature, such as {DEFAULT}",
            found="none",
            next="tf.saved_model.save(model, folder, signatures={'serving_default': concrete_function})",
        )
    listed = "; ".join(f"{name}({arguments})" for name, arguments in sorted(signatures.items()))
    if wanted is not None and wanted not in signatures:
        near = nearest(wanted, list(signatures))
        hint = f"; did you mean {near!r}?" if near else "."
        raise Failure(
            "model-signature-choice",
            f"The SavedModel {path} has no signature {wanted!r}{hint}",
            expected=f"one of {listed}",
            found=wanted,
            next=f"--signature {near or sorted(signatures)[0]}",
        )
    if wanted is not None:
        return wanted
    if DEFAULT in signatures:
        return DEFAULT
    if len(signatures) > 1:
        raise Failure(
            "model-signature-choice",
            f"The SavedModel {path} has {len(signatures)} signatures and none is called {DEFAULT}.",
            expected="the name of one of them",
            found=listed,
            next=f"--signature {sorted(signatures)[0]}",
        )
    return next(iter(signatures))
