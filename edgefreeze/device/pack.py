"""A release as one file: a tar archive of a form so strict that nothing else can hide in it.

    manifest.json  envelope.json  [envelope.sig]  [runtimes.json]  content/<sha256> …

Entries are regular files in this order, contents sorted by digest and each once. A header is read by taking
name and size out of it and comparing it with the one that we would write: so there are no links, modes,
owners, times or extensions, and no name but these. Any tar can list it; none is needed to read it.
"""

import hashlib
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edgefreeze.device import checks, manifest, sshsig, trees
from edgefreeze.device.checks import Invalid
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.files import READ, parse_json
from edgefreeze.device.protocol import SHA256, canonical

BLOCK = 512
MAX_META = 64 << 20
MAX_CONTENT = 8**11 - 1
"""What eleven octal digits of a tar header hold: 8 GiB."""
_CONTENT = "content/"
_END = bytes(2 * BLOCK)

check_runtimes: checks.Check = checks.record(
    {
        "schema": checks.integer(1, 1),
        "machine": checks.name,
        "python": checks.name,
        "runtimes": checks.dict_of(checks.digest, manifest.RUNTIME_NAME),
        "trees": checks.dict_of(trees.check_listing, checks.digest),
    },
    closed=True,
)

Pieces = Iterator[bytes]


class Meta(NamedTuple):
    """All of a pack that is no content. Manifest and envelope are the bytes as they were signed."""

    manifest: bytes
    envelope: bytes
    signature: Optional[str]
    runtimes: Optional[Dict[str, Any]]


def header(name: str, size: int) -> bytes:
    """The one tar header (ustar) of a file of this name and size."""
    fields = (
        name.encode("ascii").ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size,
        b"00000000000\0", b" " * 8, b"0", bytes(100), b"ustar\x0000", bytes(32), bytes(32), b"0000000\0",
        b"0000000\0",
    )  # fmt: skip
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def write(out: BinaryIO, meta: Meta, contents: Dict[str, Tuple[int, Callable[[], BinaryIO]]]) -> int:
    """Write a pack, the same bytes for the same release; its size.

    contents: digest to (size, how to open it). Raises OSError; ValueError where a content is not of its
    size, or too large for a pack.
    """
    written = 0
    entries: List[Tuple[str, bytes]] = [
        ("manifest.json", meta.manifest),
        ("envelope.json", meta.envelope),
    ]
    if meta.signature is not None:
        entries.append(("envelope.sig", meta.signature.encode("ascii")))
    if meta.runtimes is not None:
        entries.append(("runtimes.json", canonical(meta.runtimes)))
    for name, data in entries:
        if len(data) > MAX_META:
            raise ValueError("%s is too large for a pack" % name)
        written += out.write(header(name, len(data)) + data + _padding(len(data)))
    for sha256, (size, opening) in sorted(contents.items()):
        if size > MAX_CONTENT:
            raise ValueError("a file of %d bytes is too large for a pack" % size)
        written += out.write(header(_CONTENT + sha256, size))
        left = size
        with opening() as stream:
            while left:
                piece = stream.read(min(READ, left))
                if not piece:
                    raise ValueError("content %s is %d bytes shorter than it was" % (sha256[:12], left))
                left -= len(piece)
                written += out.write(piece)
        written += out.write(_padding(size))
    return written + out.write(_END)


class Reader:
    """Reads a pack from a stream: meta() first, then contents(), to the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._next: Optional[Tuple[str, int]] = None

    def meta(self) -> Meta:
        """What stands before the contents, checked but for signature and trust.

        Raises bad-pack, bad-manifest.
        """
        self._advance()
        data = self._require("manifest.json")
        envelope = self._require("envelope.json")
        manifest.parse_manifest(data)
        signature = self._take("envelope.sig", sshsig.MAX_SIGNATURE)
        listed = self._take("runtimes.json", MAX_META)
        runtimes = None if listed is None else _parse_runtimes(listed)
        signed = manifest.parse_envelope(envelope, manifest.release_id(data)).get("runtimes", {})
        if signature is not None and signed != (runtimes or {"runtimes": {}})["runtimes"]:
            raise bad_pack("the pack's runtimes are not those that were signed", signed, None)
        return Meta(data, envelope, None if signature is None else signature.decode("latin-1"), runtimes)

    def contents(self, wanted: Dict[str, int]) -> Iterator[Tuple[str, int, Pieces]]:
        """(digest, size, pieces) of each content, which are hashed while they are read.

        wanted: digest to size, of all that the pack must have; nothing else may be in it. Pieces that are not
        taken are read, and hashed, all the same. Raises bad-pack, digest-mismatch.
        """
        last = ""
        missing = dict(wanted)
        while self._next is not None:
            name, size = self._next
            sha256 = name[len(_CONTENT) :]
            if not name.startswith(_CONTENT) or missing.pop(sha256, None) != size or sha256 <= last:
                raise bad_pack("the pack holds what does not belong to its release, or twice", None, name)
            last = sha256
            pieces = self._pieces(sha256, size)
            yield sha256, size, pieces
            for _ in pieces:
                pass
            self._skip_padding(size)
            self._advance()
        if missing:
            raise bad_pack(
                "the pack lacks %d files of its release" % len(missing), None, sorted(missing)[:10]
            )

    def _pieces(self, sha256: str, size: int) -> Pieces:
        state = hashlib.sha256()
        left = size
        while left:
            piece = self._read(min(READ, left))
            state.update(piece)
            left -= len(piece)
            if not left and state.hexdigest() != sha256:
                break
            yield piece
        if state.hexdigest() != sha256:
            raise DeviceError(
                "digest-mismatch", "a file of the pack is damaged or was changed", sha256, state.hexdigest()
            )

    def _require(self, name: str) -> bytes:
        data = self._take(name, MAX_META)
        if data is None:
            raise bad_pack("the file is no packed release", name, self._next and self._next[0])
        return data

    def _take(self, name: str, limit: int) -> Optional[bytes]:
        """The next entry, if it has this name."""
        if self._next is None or self._next[0] != name:
            return None
        size = self._next[1]
        if size > limit:
            raise bad_pack("%s of the pack is too large" % name, limit, size)
        parts = []
        while size:
            parts.append(self._read(min(READ, size)))
            size -= len(parts[-1])
        self._skip_padding(self._next[1])
        self._advance()
        return b"".join(parts)

    def _advance(self) -> None:
        block = self._exactly(BLOCK)
        if block == bytes(BLOCK):
            if self._exactly(BLOCK) != bytes(BLOCK) or self._stream.read(1):
                raise bad_pack("the pack goes on behind its end")
            self._next = None
            return
        name, digits = block[:100].rstrip(b"\0").decode("latin-1"), block[124:135]
        size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
        known = name in ("manifest.json", "envelope.json", "envelope.sig", "runtimes.json")
        ours = known or (name.startswith(_CONTENT) and SHA256.fullmatch(name[len(_CONTENT) :]) is not None)
        if size < 0 or not ours or header(name, size) != block:
            raise bad_pack(
                "the file is no packed release, or not only that", None, checks.brief(name[:80].rstrip())[:60]
            )
        self._next = (name, size)

    def _skip_padding(self, size: int) -> None:
        padding = _padding(size)
        if self._exactly(len(padding)) != padding:
            raise bad_pack("the pack holds something between its files")

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            parts.append(self._read(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if not data:
            raise bad_pack("the pack ends in the middle")
        return data


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _parse_runtimes(data: bytes) -> Dict[str, Any]:
    try:
        found: Dict[str, Any] = parse_json(data, check_runtimes, "runtimes")
    except Invalid as error:
        raise bad_pack(str(error), error.expected, error.found) from None
    if set(found["runtimes"].values()) != set(found["trees"]):
        raise bad_pack("the pack's runtimes are not those that it lists the files of")
    for identity, listing in found["trees"].items():
        if trees.tree_id(listing) != identity:
            raise bad_pack("a runtime of the pack is not what it says", identity, trees.tree_id(listing))
    return found


def wanted(meta: Meta) -> Dict[str, int]:
    """Digest to size of all content that the pack must hold. Raises bad-pack where one has two sizes."""
    envelope = manifest.parse_envelope(meta.envelope, manifest.release_id(meta.manifest))
    rows = [(f["sha256"], f["bytes"]) for f in manifest.parse_manifest(meta.manifest)["files"]]
    rows.append((envelope["golden"]["sha256"], envelope["golden"]["bytes"]))
    for listing in (meta.runtimes or {"trees": {}})["trees"].values():
        rows += [(row[1], row[2]) for row in listing]
    found: Dict[str, int] = {}
    for sha256, size in rows:
        if found.setdefault(sha256, size) != size:
            raise bad_pack("one file has two sizes", found[sha256], size)
    return found


def bad_pack(message: str, expected: Any = None, found: Any = None) -> DeviceError:
    """The error of a file that is no pack."""
    return DeviceError("bad-pack", message, expected, found)
