"""Small files with one copy of them all beside them, so that a bit that flips on the card changes nothing.

Where a file differs from its copy in exactly one bit, the copy is what was written: nobody changes a file
so by hand, and a change by hand counts. Where it differs more, the file counts, whatever the copy says.

    copies.json   {"schema": 1, "files": {name: its bytes as Latin-1}, "sha256": of the canonical "files"}
"""

import hashlib
import os
from typing import Dict, List, Optional, Sequence

from edgefreeze.device import checks, files, protocol

NAME = "copies.json"
_LIMIT = 8 << 20
_check = checks.record(
    {
        "schema": checks.integer(1, 1),
        "files": checks.dict_of(checks.text(_LIMIT), checks.text(100)),
        "sha256": checks.digest,
    }
)


class Copied:
    """The files of these names in a folder. One process at a time may write; anybody may read."""

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._copies_file = os.path.join(folder, NAME)

    def path(self, name: str) -> str:
        """Where a file is."""
        return os.path.join(self._folder, name)

    def read(self, name: str, limit: int = 4 << 20) -> bytes:
        """A file as it was written, or as somebody changed it since. Raises OSError, Invalid (too long)."""
        return self._whole(name, files.read_bytes(self.path(name), limit))

    def write(self, name: str, data: bytes) -> None:
        """Replace a file durably. Its copy first: cut in between, a sequence that is one bit apart rises."""
        copies = dict(self._present(), **{name: data})
        texts = {other: copy.decode("latin-1") for other, copy in copies.items()}
        files.write_json(self._copies_file, {"schema": 1, "files": texts, "sha256": _digest(texts)})
        files.write_durably(self.path(name), data)

    def copy(self, name: str) -> Optional[bytes]:
        """A file as it was last written, whatever it is now; None where that cannot be read."""
        return self._copies().get(name)

    def mend(self) -> List[str]:
        """Write anew what has a flipped bit; the names."""
        mended = []
        for name, whole in self._present().items():
            if files.read_bytes(self.path(name)) != whole:
                files.write_durably(self.path(name), whole)
                mended.append(name)
        return mended

    def _present(self) -> Dict[str, bytes]:
        found = {}
        for name in self._names:
            try:
                found[name] = self.read(name)
            except (OSError, checks.Invalid):
                pass  # not there, or not to be read: there is nothing to keep
        return found

    def _whole(self, name: str, data: bytes) -> bytes:
        copy = self._copies().get(name)
        return copy if copy is not None and _one_bit_apart(data, copy) else data

    def _copies(self) -> Dict[str, bytes]:
        try:
            found = files.read_json(self._copies_file, _check, _LIMIT)
            if _digest(found["files"]) == found["sha256"]:
                return {name: text.encode("latin-1") for name, text in found["files"].items()}
        except (OSError, checks.Invalid, UnicodeEncodeError):
            pass
        return {}


def _digest(texts: Dict[str, str]) -> str:
    return hashlib.sha256(protocol.canonical(texts)).hexdigest()


def _one_bit_apart(one: bytes, other: bytes) -> bool:
    different = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) == len(other) and different != 0 and different & (different - 1) == 0
