import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgefreeze.device import protocol

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(st.text(), json_values, max_size=5)


@given(messages, st.binary(max_size=2000))
def test_what_is_written_is_read(message: dict[str, object], blob: bytes) -> None:
    stream = io.BytesIO()
    protocol.write_message(stream, message)
    protocol.write_blob(stream, blob)
    stream.seek(0)
    assert protocol.read_message(stream) == message
    assert b"".join(protocol.read_blob(lambda: protocol.read_frame(stream), len(blob))) == blob
    assert stream.read() == b""


@given(st.binary(max_size=200))
@example(b"J\x00\x00\x00\x02[]")
@example(b"J\xff\xff\xff\xff")
@example(b"D\x00\x04\x00\x01")
@example(b"J\x00\x00\x00\x03{\xff}")
def test_garbage_is_a_protocol_error_and_nothing_else(data: bytes) -> None:
    stream = io.BytesIO(data)
    try:
        message = protocol.read_message(stream)
    except protocol.ProtocolError:
        return
    assert isinstance(message, dict)


def test_deep_json_is_a_protocol_error() -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.parse_message(b"[" * 100_000)


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_noise_before_the_magic_is_skipped(noise: bytes, rest: bytes) -> None:
    if protocol.MAGIC in noise + protocol.MAGIC[:-1]:
        return
    stream = io.BytesIO(noise + protocol.MAGIC + rest)
    assert protocol.skip_to_magic(stream) == (True, noise)
    assert stream.read() == rest


def test_a_blob_that_breaks_off_or_overflows() -> None:
    for frames in ([(b"J", b"{}")], [(b"D", b"")], [(b"D", b"12345")]):
        source = iter(frames)
        with pytest.raises(protocol.ProtocolError):
            list(protocol.read_blob(lambda source=source: next(source), 4))


@given(json_values)
def test_canonical_has_one_spelling(value: object) -> None:
    spelled = protocol.canonical(value) if not _has_surrogates(value) else b"null"
    assert protocol.canonical(json.loads(spelled)) == spelled


def _has_surrogates(value: object) -> bool:
    return any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize("path", ["a", "a/b.c", "ä/ö", "a b", "..a", "a.."])
def test_safe_paths(path: str) -> None:
    assert protocol.is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a/.", "a\nb", "a\x00", "a/" * 600, "b" * 256, 3, None],
)
def test_unsafe_paths(path: object) -> None:
    assert not protocol.is_safe_path(path)  # type: ignore[arg-type]


def test_a_whole_blob_is_taken_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_BLOB", 5)
    frames = iter([(b"D", b"123"), (b"D", b"45")])
    assert protocol.take_blob(lambda: next(frames), {"blob": 5}) == b"12345"
    assert protocol.take_blob(lambda: next(frames), {}) == b""
    with pytest.raises(protocol.ProtocolError, match="6 bytes; at most 5"):
        protocol.take_blob(lambda: next(frames), {"blob": 6})
