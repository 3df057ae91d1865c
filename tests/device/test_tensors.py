import contextlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgefreeze.device import tensors

numbers = hnp.arrays(
    dtype=st.sampled_from(["f4", "f8", "f2", "i1", "i8", "u2", "?", "c8", ">f4"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
names = st.text(
    st.characters(blacklist_characters="|\x00", blacklist_categories=("Cs",)), min_size=1, max_size=12
)


@given(st.dictionaries(names, numbers, max_size=4))
def test_numbers_come_back_as_they_were(arrays: dict[str, np.ndarray]) -> None:
    back = tensors.decode(tensors.encode(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == np.ascontiguousarray(array).tobytes()


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_strings_keep_every_byte(items: list[bytes]) -> None:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    back = tensors.decode(tensors.encode({"wav:0": array, "scalar": np.array(b"\x00x\x00", dtype=object)}))
    assert back["wav:0"].tolist() == items
    assert back["scalar"].shape == ()
    assert back["scalar"].item() == b"\x00x\x00"


def test_fortran_order_and_writability() -> None:
    array = np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4))
    back = tensors.decode(tensors.encode({"x": array}))["x"]
    assert np.array_equal(back, array)
    back[0, 0] = 5


def test_numpys_own_files_and_strings_are_read() -> None:
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(3), s=np.array([b"ab", b"c"]), u=np.array(["ä"]))
    back = tensors.decode(out.getvalue())
    assert back["a"].tolist() == [0, 1, 2]
    assert back["s"].tolist() == [b"ab", b"c"]
    assert back["u"].tolist() == ["ä".encode()]


def test_numpy_reads_what_is_written() -> None:
    with np.load(io.BytesIO(tensors.encode({"a/b:0": np.eye(2)}))) as loaded:
        assert np.array_equal(loaded["a/b:0"], np.eye(2))


def test_same_arrays_same_bytes() -> None:
    arrays = {"x": np.arange(4.0), "t": np.array(["a"])}
    assert tensors.encode(arrays) == tensors.encode(arrays)


def test_golden_cases_keep_their_order() -> None:
    cases = [({"x": np.array([i])}, {"y|z": np.array([i * 2.0]), "t": np.array([b"s"])}) for i in range(12)]
    back = tensors.decode_golden(tensors.encode_golden(cases))
    assert [case[0]["x"].item() for case in back] == list(range(12))
    assert back[3][1]["y|z"].item() == 6.0
    assert back[3][1]["t"].tolist() == [b"s"]


@pytest.mark.parametrize("key", ["x", "0|x", "a|in|x", "0|to|x", "1|in|x", "-1|in|x"])
def test_golden_data_with_other_keys_is_refused(key: str) -> None:
    with pytest.raises(tensors.TensorError):
        tensors.decode_golden(tensors.encode({key: np.zeros(1)}))


def test_pickles_are_refused() -> None:
    out = io.BytesIO()
    np.savez(out, x=np.array([{}], dtype=object))
    with pytest.raises(tensors.TensorError):
        tensors.decode(out.getvalue())


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["2020"], dtype="M8[D]"), np.zeros(1, "i4,i4")])
def test_what_cannot_be_stored(array: np.ndarray) -> None:
    with pytest.raises(tensors.TensorError):
        tensors.encode({"x": array})


def _npz(member: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    return out.getvalue()


def test_a_header_that_lies_about_its_size_allocates_nothing() -> None:
    whole = io.BytesIO()
    np.lib.format.write_array(whole, np.zeros(3))
    lying = whole.getvalue().replace(b"(3,)", b"(9999999999999,)").replace(b" " * 13 + b"\n", b"\n")
    for data in (_npz(lying), _npz(whole.getvalue()[:-1]), _npz(b""), _npz(b"\x93NUMPY\x03\x00")):
        with pytest.raises(tensors.TensorError):
            tensors.decode(data)


def test_a_bomb_is_refused_by_its_size() -> None:
    bomb = tensors.encode({"x": np.zeros(1000)})
    with pytest.raises(tensors.TensorError, match="bytes"):
        tensors.decode(bomb, limit=1000)


def _savez(packed: bool) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(out, x=np.arange(50.0), t=np.array(["a"]))
    return out.getvalue()


@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(tensors.TensorError):
        tensors.decode(data)


@pytest.mark.parametrize("packed", [False, True])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(packed: bool, data: st.DataObject) -> None:
    whole = bytearray(_savez(packed))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(tensors.TensorError):
        tensors.decode(bytes(whole))


@pytest.mark.models
@pytest.mark.skipif("EDGEFREEZE_MODELS" not in os.environ, reason="EDGEFREEZE_MODELS is not set")
def test_published_models_files_are_read() -> None:
    files = sorted(Path(os.environ["EDGEFREEZE_MODELS"]).glob("*.npz"))
    assert files
    for path in files:
        assert tensors.decode(path.read_bytes())
    wav = tensors.decode((files[0].parent / "ds_cnn_s.npz").read_bytes())["in|wav_data:0"]
    assert wav.shape == ()
    assert wav.item().startswith(b"RIFF")


def header_only(dtype: str, shape: tuple[int, ...], body: bytes = b"") -> bytes:
    """An .npz with one array of which there is the header and this."""
    npy, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", npy.getvalue() + body)
    return out.getvalue()


@pytest.mark.parametrize("dtype", ["|S0", "<U0"])
def test_strings_of_no_bytes_count_for_the_limit_too(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tensors.decode(header_only(dtype, (3,)))["a"].tolist() == [b""] * 3
    monkeypatch.setattr(np, "zeros", None)  # nothing is made of it
    with pytest.raises(tensors.TensorError, match="in memory"):
        tensors.decode(header_only(dtype, (10**9,)))


def test_the_limit_is_of_all_arrays_together() -> None:
    data = tensors.encode({name: np.zeros(100, "u1") for name in "ab"})
    several = io.BytesIO()
    with zipfile.ZipFile(several, "w") as archive:
        for name in "abc":
            npy = zipfile.ZipFile(io.BytesIO(header_only("|S0", (500,)))).read("a.npy")
            archive.writestr(name + ".npy", npy)
    assert len(tensors.decode(several.getvalue(), 12_000)) == 3
    assert len(tensors.decode(data, 2 * 100 + 2 * 128)) == 2
    with pytest.raises(tensors.TensorError, match="in memory"):
        tensors.decode(several.getvalue(), 11_999)


@pytest.mark.parametrize("points", [(65, 0xD800), (0x7FFFFFFF, 0), (65, 0x7FFFFFFF), (0x110000, 65)])
@pytest.mark.parametrize("order", "<>")
def test_text_that_is_no_unicode_is_refused(points: tuple[int, int], order: str) -> None:
    with pytest.raises(tensors.TensorError, match="Unicode"):
        tensors.decode(header_only(f"{order}U2", (1,), np.array(points, dtype=f"{order}u4").tobytes()))
    fine = np.array((65, 0x10FFFF), dtype=f"{order}u4").tobytes()
    assert tensors.decode(header_only(f"{order}U2", (1,), fine))["a"].tolist() == ["A\U0010ffff".encode()]
