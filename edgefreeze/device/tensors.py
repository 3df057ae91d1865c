"""Tensors as .npz without pickles, and golden data: input and output tensors of several cases in one file.

Both sides import this; NumPy is imported when it is needed. Strings (which NumPy would pad and strip) are
stored as base64: NAME|b64 holds one text per element and NAME|shape the shape. Arrays of NumPy's own
string types are read as well. In memory strings are arrays of dtype object that hold bytes.
"""

import base64
import io
import sys
import zipfile
import zlib
from typing import Any, Dict, Iterable, List, Sequence, Tuple

Array = Any
"""numpy.ndarray; NumPy is not there when this is imported on a device."""
Tensors = Dict[str, Array]
Case = Tuple[Tensors, Tensors]
"""(inputs, outputs)"""

MAX_BYTES = 2 << 30
MAX_ARRAYS = 10_000
_STRING = 8
"""Bytes that a string takes at least: in memory each is an object, also one that took none in the file."""
_KINDS = "biufcSU"
# What reading a broken or hostile archive, or the header of an array in it, may raise.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    SyntaxError,
    MemoryError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class TensorError(ValueError):
    """Bytes that are no tensors of ours, or an array that cannot be stored."""


def encode(tensors: Tensors) -> bytes:
    """.npz bytes of named arrays; the same arrays give the same bytes. Raises TensorError."""
    stored: Dict[str, Array] = {}
    for name, array in tensors.items():
        stored.update(_stored(name, array))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in stored:
            archive.writestr(zipfile.ZipInfo(name + ".npy", _EPOCH), _npy(stored[name]))
    return out.getvalue()


def decode(data: bytes, limit: int = MAX_BYTES) -> Tensors:
    """Named arrays from .npz bytes; strings as arrays of bytes objects.

    Raises TensorError for anything else, for object arrays, and for more than `limit` bytes unpacked.
    """
    members = _members(data, limit)
    tensors: Tensors = {}
    for name, array in members.items():
        base, _, role = name.rpartition("|")
        if role == "b64" and base + "|shape" in members:
            tensors[base] = _strings(name, array, members[base + "|shape"])
        elif role == "shape" and base + "|b64" in members:
            continue
        else:
            tensors[name] = as_bytes(array) if array.dtype.kind in "SU" else array
    return tensors


def encode_golden(cases: Sequence[Case]) -> bytes:
    """.npz bytes of golden cases, keys "0|in|NAME" and "0|out|NAME". Raises TensorError."""
    flat: Tensors = {}
    for index, (inputs, outputs) in enumerate(cases):
        for role, tensors in (("in", inputs), ("out", outputs)):
            for name, array in tensors.items():
                flat["%d|%s|%s" % (index, role, name)] = array
    return encode(flat)


def decode_golden(data: bytes) -> List[Case]:
    """The golden cases of .npz bytes, in order. Raises TensorError."""
    cases: Dict[int, Case] = {}
    for key, array in decode(data).items():
        number, _, rest = key.partition("|")
        role, _, name = rest.partition("|")
        if not number.isdigit() or len(number) > 6 or role not in ("in", "out"):
            raise TensorError("%r is no key of golden data" % key)
        inputs, outputs = cases.setdefault(int(number), ({}, {}))
        (inputs if role == "in" else outputs)[name] = array
    if sorted(cases) != list(range(len(cases))):
        raise TensorError("golden cases are missing")
    return [cases[index] for index in range(len(cases))]


def as_bytes(array: Array) -> Array:
    """Strings of whatever dtype (S, U, object) as an object array of bytes. Raises TensorError."""
    import numpy as np

    result = np.empty(array.shape, dtype=object)
    flat = result.reshape(-1)
    if array.dtype.kind == "U":
        points = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if points.size and points.max() > sys.maxunicode:  # NumPy keeps any 32 bits, Python not
            raise TensorError("a string that is no Unicode")
    try:
        items = array.reshape(-1).tolist()
        items = [item.encode("utf-8") if isinstance(item, str) else item for item in items]
    except UnicodeEncodeError as error:
        raise TensorError("a string that is no Unicode: %s" % error) from None
    for index, item in enumerate(items):
        if not isinstance(item, bytes):
            raise TensorError("an object array that holds %s, not bytes" % type(item).__name__)
        flat[index] = item
    return result


def is_text(array: Array) -> bool:
    """Whether the array holds strings."""
    return array.dtype.kind in "OSU"


def _stored(name: str, array: Any) -> Tensors:
    import numpy as np

    array = np.asarray(array)
    if array.dtype.kind in _KINDS and not is_text(array):
        return {name: array}
    if not is_text(array):
        raise TensorError("%s is of dtype %s, which cannot be stored" % (name, array.dtype))
    texts = [base64.b64encode(item) for item in as_bytes(array).reshape(-1).tolist()]
    shape = np.array(array.shape, dtype=np.int64)
    return {name + "|b64": np.array(texts, dtype=np.bytes_), name + "|shape": shape}


def _strings(name: str, array: Array, shape: Array) -> Array:
    import numpy as np

    try:
        items = [base64.b64decode(item, validate=True) for item in as_bytes(array).reshape(-1).tolist()]
        result = np.empty(len(items), dtype=object)
        result[:] = items
        return result.reshape([int(size) for size in shape.reshape(-1).tolist()])
    except (ValueError, TypeError) as error:
        raise TensorError("%s is no array of strings: %s" % (name, error)) from None


def _npy(array: Array) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=False)
    return out.getvalue()


def _members(data: bytes, limit: int) -> Tensors:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ARRAYS or sum(entry.file_size for entry in entries) > limit:
                raise TensorError("more than %d arrays or %d bytes" % (MAX_ARRAYS, limit))
            found: Tensors = {}
            left = limit
            for entry in entries:
                array = _array(_unpacked(archive, entry), entry.filename, left)
                left -= _weight(array.size, array.dtype)
                found[_key(entry.filename)] = array
            return found
    except TensorError:
        raise
    except _BROKEN as error:
        raise TensorError("no .npz: %s" % error) from None


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise TensorError("%s is packed in a way that .npz files are not" % entry.filename)
    with archive.open(entry) as stream:
        data = stream.read(entry.file_size + 1)  # the announced size is what was counted
    if len(data) != entry.file_size:
        raise TensorError("%s is not of the size that the archive says" % entry.filename)
    return data


def _key(filename: str) -> str:
    return filename[:-4] if filename.endswith(".npy") else filename


def _array(data: bytes, name: str, most: int) -> Array:
    """One .npy, whose header must describe exactly the bytes that follow it, and at most `most` in memory."""
    import numpy as np

    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise TensorError("%s is of an unknown version of .npy" % name)
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise TensorError("%s is of dtype %s, which is not read" % (name, dtype))
    body = memoryview(data)[stream.tell() :]
    if _count(shape) * dtype.itemsize != len(body):
        raise TensorError("%s does not hold what its header says" % name)
    if _weight(_count(shape), dtype) > most:
        raise TensorError("%s takes more than %d bytes in memory" % (name, most))
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(body, dtype).copy()
    return flat.reshape(shape, order="F" if fortran else "C")


def _weight(count: int, dtype: Any) -> int:
    """Bytes in memory of so many elements."""
    return count * (max(dtype.itemsize, _STRING) if dtype.kind in "SU" else int(dtype.itemsize))


def _count(shape: Iterable[int]) -> int:
    count = 1
    for size in shape:
        if size < 0:
            raise TensorError("a negative size in a shape")
        count *= size
    return count
