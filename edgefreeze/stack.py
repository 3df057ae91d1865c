"""The packages that edgefreeze works with, and which versions of them are installed; imports none of them."""

from __future__ import annotations

from collections.abc import Iterable

PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "tf-keras",
    "numpy",
    "protobuf",
    "ai-edge-litert",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "paramiko",
    "cryptography",
    "click",
    "msgspec",
    "rich",
)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Those of these packages that are installed, Python first."""
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
