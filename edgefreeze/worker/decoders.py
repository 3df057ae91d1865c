"""What a string input has to hold, told from the operation that decodes it in the graph, and made: WAV,
images, serialized tf.Examples, encoded tensors. Random words would be refused by all of these.
"""

from __future__ import annotations

import base64
import io
import wave
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.worker import examples
from edgefreeze.worker.flow import Use, follow
from edgefreeze.worker.graphs import producer

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Source

Make = Callable[[np.random.Generator], bytes]
"""The content of one element of the input."""
Variants = Iterator[tuple[str, Make]]
"""(in words, how to make it): several, since sizes often cannot be told from the decoder."""

_IMAGE_SIZES = (64, 224, 32, 96, 28, 128, 299)
_WAV_SAMPLES = (16000, 48000, 1600)
_RAW_ELEMENTS = (784, 3072, 1024, 4096, 150528, 256, 64, 16, 10, 4, 1)
_SAMPLE_RATE = 16000


def recognise(source: Source) -> dict[str, list[tuple[str, Make]]]:
    """For each string input behind which a known decoder stands: what to try, the likeliest first."""
    texts = {producer(t.tensor): t.name for t in source.inputs if t.dtype == "string"}
    if not texts:
        return {}
    graph = source.function.graph.as_graph_def()
    first = list(_decoders(follow(graph, texts, lambda node: node.op not in _MAKERS)))
    every = list(_decoders(follow(graph, texts, lambda node: True)))
    places = {(use.function, use.node.name) for use in first}
    behind = [use for use in every if (use.function, use.node.name) not in places]
    found: dict[str, list[tuple[str, Make]]] = {}
    for use in first:
        name = use.given[0]
        if name is not None and name not in found:
            variants = list(_MAKERS[use.node.op](use, behind))
            if variants:
                found[name] = variants
    return found


def _decoders(uses: Iterator[Use]) -> Iterator[Use]:
    return (use for use in uses if use.node.op in _MAKERS and use.given and use.given[0] is not None)


def _wav(use: Use, behind: list[Use]) -> Variants:
    attr = use.node.attr
    channels = max(1, attr["desired_channels"].i)
    wanted = attr["desired_samples"].i
    for count in (wanted,) if wanted > 0 else _WAV_SAMPLES:
        yield f"WAV of {count} samples", partial(_wav_bytes, count=count, channels=channels)


def _wav_bytes(generator: np.random.Generator, count: int, channels: int) -> bytes:
    """16-bit PCM: three tones and some noise."""
    seconds = np.arange(count)[:, None] / _SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * generator.uniform(80, 4000) * seconds) for _ in range(3))
    sound = 0.2 * tones + 0.05 * generator.standard_normal((count, channels))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(_SAMPLE_RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def _image(use: Use, behind: list[Use]) -> Variants:
    attr = use.node.attr
    kind = {"DecodeJpeg": "JPEG", "DecodeAndCropJpeg": "JPEG", "DecodeBmp": "BMP"}.get(use.node.op, "PNG")
    channels = attr["channels"].i or 3
    for size in _IMAGE_SIZES:
        yield (
            f"{kind} of {size}×{size}",
            partial(_image_bytes, kind=kind, size=size, channels=channels),
        )


def _picture(generator: np.random.Generator, size: int, channels: int) -> Any:
    """uint8 (size, size, channels): patches of colour under some noise, as JPEG can keep."""
    coarse = generator.integers(20, 236, (8, 8, channels))
    whole = np.kron(coarse, np.ones((-(-size // 8), -(-size // 8), 1), int))[:size, :size]
    return np.clip(whole + generator.integers(-10, 11, whole.shape), 0, 255).astype(np.uint8)


def _image_bytes(generator: np.random.Generator, kind: str, size: int, channels: int) -> bytes:
    import tensorflow as tf

    picture = _picture(generator, size, channels)
    if kind != "BMP":
        encoded = tf.io.encode_png(picture) if kind == "PNG" else tf.io.encode_jpeg(picture, quality=95)
        content: bytes = encoded.numpy()
        return content
    pixels = np.zeros((size, -(-size * channels // 4) * 4), np.uint8)
    pixels[:, : size * channels] = picture[..., ::-1].reshape(size, -1)
    header = b"BM" + (54 + pixels.size).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    numbers = ((40, 4), (size, 4), (size, 4), (1, 2), (8 * channels, 2), (0, 4), (pixels.size, 4))
    info = b"".join(n.to_bytes(width, "little") for n, width in numbers) + bytes(16)
    return header + info + pixels.tobytes()


def _example(use: Use, behind: list[Use]) -> Variants:
    parsed = examples.features(use)
    if parsed is None:
        return
    contents = next((list(_MAKERS[inner.node.op](inner, [])) for inner in behind), None)
    for said, text in contents or [("words", _word)]:
        for below in (10, 2):
            yield (
                f"{parsed}{f' ({said})' if contents else ''}, integers 0..{below - 1}",
                partial(parsed.make, below=below, text=text),
            )


def _word(generator: np.random.Generator) -> bytes:
    return bytes(generator.integers(97, 123, 8).astype(np.uint8))


def _gif(use: Use, behind: list[Use]) -> Variants:
    for size in _IMAGE_SIZES:
        yield f"GIF of 2 frames of {size}×{size}", partial(_gif_bytes, size=size)


def _gif_bytes(generator: np.random.Generator, size: int) -> bytes:
    """Two frames of coloured patches. Codes stay 8 bits wide, as the table is cleared before it grows."""
    palette = generator.integers(0, 256, (128, 3)).astype(np.uint8).tobytes()
    edge = size.to_bytes(2, "little")
    frames = []
    for _ in range(2):
        patches = generator.integers(0, 128, (8, 8))
        pixels = np.kron(patches, np.ones((-(-size // 8), -(-size // 8)), int))[:size, :size].astype(np.uint8)
        flat = pixels.tobytes()
        codes = b"".join(b"\x80" + flat[at : at + 100] for at in range(0, len(flat), 100)) + b"\x81"
        blocks = [codes[at : at + 255] for at in range(0, len(codes), 255)]
        data = b"".join(bytes([len(block)]) + block for block in blocks)
        frames.append(b"\x2c" + bytes(4) + edge + edge + b"\0\x07" + data + b"\0")
    return b"GIF89a" + edge + edge + b"\xf6\0\0" + palette + b"".join(frames) + b"\x3b"


def _raw(use: Use, behind: list[Use]) -> Variants:
    from tensorflow.dtypes import as_dtype

    dtype = as_dtype(use.node.attr["out_type"].type).as_numpy_dtype
    for count in dict.fromkeys((*_reshaped(use), *_RAW_ELEMENTS)):
        yield f"{count} raw {np.dtype(dtype).name}", partial(_raw_bytes, count=count, dtype=dtype)


def _raw_bytes(generator: np.random.Generator, count: int, dtype: Any) -> bytes:
    raw: bytes = _numbers(generator, (count,), dtype).tobytes()
    return raw


def _reshaped(use: Use) -> Iterator[int]:
    """How many elements the constant shapes give to which reshapes beside the decoder lead."""
    from tensorflow.python.framework import tensor_util

    for node in use.siblings.values():
        if node.op == "Reshape":
            shape = use.siblings.get(producer(node.input[1]))
            if shape is not None and shape.op == "Const":
                sizes = tensor_util.MakeNdarray(shape.attr["value"].tensor).reshape(-1)
                count = int(np.prod([s for s in sizes if s > 0], dtype=int))
                if count > 1:
                    yield count


def _numbers(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    kind = np.dtype(dtype).kind
    if kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2 if kind == "b" else 100, shape).astype(dtype)


def _tensor(use: Use, behind: list[Use]) -> Variants:
    from tensorflow.dtypes import as_dtype

    kind = as_dtype(use.node.attr["out_type"].type)
    if kind.name == "string":
        return
    for shape in ((4,), (1, 4), (), *((n,) for n in _reshaped(use)), (8,), (2, 2), (3,), (16,), (1,)):
        yield (
            f"serialized {kind.name} of shape {list(shape)}",
            partial(_tensor_bytes, shape=shape, dtype=kind.as_numpy_dtype),
        )


def _tensor_bytes(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> bytes:
    from tensorflow.python.framework import tensor_util

    array = _numbers(generator, shape, dtype)
    content: bytes = tensor_util.make_tensor_proto(array).SerializeToString(deterministic=True)
    return content


def _csv(use: Use, behind: list[Use]) -> Variants:
    from tensorflow.dtypes import as_dtype

    kinds = [as_dtype(t).name for t in use.node.attr["OUT_TYPE"].list.type]
    delimiter = (use.node.attr["field_delim"].s or b",").decode()

    def line(generator: np.random.Generator) -> bytes:
        fields = {
            "string": lambda: _word(generator).decode(),
            "float32": lambda: f"{generator.standard_normal():.4f}",
            "float64": lambda: f"{generator.standard_normal():.4f}",
        }
        return delimiter.join(fields.get(k, lambda: str(generator.integers(0, 10)))() for k in kinds).encode()

    yield f"CSV with {len(kinds)} fields", line


def _number(use: Use, behind: list[Use]) -> Variants:
    whole = use.node.attr["out_type"].type in (3, 9)
    yield (
        "numbers as text",
        lambda g: str(g.integers(0, 10)).encode() if whole else f"{g.standard_normal():.4f}".encode(),
    )


def _wrap(generator: np.random.Generator, make: Make, wrap: Callable[[bytes], bytes]) -> bytes:
    return wrap(make(generator))


def _wrapped(name: str, wrap: Callable[[bytes], bytes]) -> Callable[[Use, list[Use]], Variants]:
    """What stands behind a decoder that only unwraps, wrapped; words where nothing known does."""

    def variants(use: Use, behind: list[Use]) -> Variants:
        inner = next((list(_MAKERS[u.node.op](u, [])) for u in behind), [("words", _word)])
        for said, make in inner:
            yield f"{name} of {said}", partial(_wrap, make=make, wrap=wrap)

    return variants


def _compressed(use: Use, behind: list[Use]) -> Variants:
    import gzip

    kinds = {b"ZLIB": zlib.compress, b"GZIP": lambda data: gzip.compress(data, mtime=0)}
    wrap = kinds.get(use.node.attr["compression_type"].s, bytes)
    yield from _wrapped("compressed bytes", wrap)(use, behind)


_MAKERS: dict[str, Callable[[Use, list[Use]], Variants]] = {
    "DecodeWav": _wav,
    "DecodeJpeg": _image,
    "DecodeAndCropJpeg": _image,
    "DecodePng": _image,
    "DecodeImage": _image,
    "DecodeBmp": _image,
    "DecodeGif": _gif,
    **dict.fromkeys(examples.OPS, _example),
    "ParseTensor": _tensor,
    "DecodeRaw": _raw,
    "DecodePaddedRaw": _raw,
    "DecodeCSV": _csv,
    "StringToNumber": _number,
    "DecodeBase64": _wrapped("base64", lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")),
    "DecodeCompressed": _compressed,
}
"""How to make what each operation decodes; its first input is the content."""
