"""The helper as one file: a zipapp of the device package, the same bytes each time."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = b"from edgefreeze.device.__main__ import run\n\nrun()\n"


@functools.cache
def build() -> tuple[bytes, str]:
    """The zipapp and its SHA-256 in hex. The same sources and zlib give the same bytes."""
    package = Path(__file__).parent.parent / "device"
    entries = {"__main__.py": _MAIN, "edgefreeze/__init__.py": b""}
    for path in package.rglob("*.py"):
        entries["edgefreeze/device/" + path.relative_to(package).as_posix()] = path.read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name], compresslevel=9)
    data = out.getvalue()
    return data, hashlib.sha256(data).hexdigest()
