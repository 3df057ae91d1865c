"""The packages that edgefreeze works with, and which versions of them are installed; imports none of them."""

from __future__ import annotations

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


def versions() -> dict[str, str]:
    """Installed packages of PACKAGES, Python first."""
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
