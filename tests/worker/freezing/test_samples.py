"""What may be given as samples, and how it becomes calls: decided on files and arrays alone."""

import json

import numpy as np
import pytest

from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker.samples import calls


def tensor(name, shape, dtype="float32"):
    return Tensor(name=name, tensor=f"{name}:0", dtype=dtype, shape=shape)


X, TEXT = tensor("x", (None, 2)), tensor("text", (None,), "string")
INDICES = tensor("indices", (None, 2), "int64")
VALUES, SIZE = tensor("values", (None,)), tensor("size", (2,), "int64")


def lines(tmp_path, *objects):
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(o if isinstance(o, str) else json.dumps(o) for o in objects) + "\n\n")
    return path


def refused(path, *inputs):
    with pytest.raises(Failure) as caught:
        calls(path, inputs, rows=1)
    assert caught.value.code == "samples-bad"
    assert caught.value.expected
    return caught.value


def test_one_array_is_the_only_inputs_rows(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    found = calls(tmp_path / "x.npy", [X], rows=2)
    assert [c["x"].tolist() for c in found] == [[[0, 1], [2, 3]], [[4, 5]]]
    assert found[0]["x"].dtype == np.float32
    failure = refused(tmp_path / "x.npy", X, TEXT)
    assert failure.message.endswith("x.npy is one array, and the model has 2 inputs.")


def test_a_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read" in refused(tmp_path / "x.npy", X).message


def test_a_folder_is_the_bytes_of_its_files_by_name(tmp_path):
    for name, content in (("b.wav", b"\x00two\x00"), ("a.wav", b"one"), (".hidden", b"no")):
        (tmp_path / name).write_bytes(content)
    assert [c["text"].tolist() for c in calls(tmp_path, [TEXT], rows=1)] == [[b"one"], [b"\x00two\x00"]]
    scalar = tensor("wav", (), "string")
    assert [c["wav"].item() for c in calls(tmp_path, [scalar], rows=1)] == [b"one", b"\x00two\x00"]


def test_a_folder_is_no_sample_of_numbers_and_must_not_be_empty(tmp_path):
    failure = refused(tmp_path, X)
    assert "which are the bytes of a model's one string input" in failure.message
    assert failure.found == "x: float32"
    assert refused(tmp_path, TEXT).message.endswith("has no samples.")


def test_a_line_is_a_call(tmp_path):
    path = lines(
        tmp_path, {"x": [1, 2], "text": "é"}, {"x": [[3, 4], [5, 6]], "text": [{"b64": "AAE="}, "b"]}
    )
    first, second = calls(path, [X, TEXT], rows=1)
    assert first["x"].tolist() == [[1, 2]]
    assert first["x"].dtype == np.float32
    assert first["text"].tolist() == ["é".encode()]
    assert second["text"].tolist() == [b"\x00\x01", b"b"]


def test_sparse_triples_stay_together(tmp_path):
    triple = {"indices": [[0, 0], [0, 3]], "values": [0.5, 1.5], "size": [1, 4]}
    (found,) = calls(lines(tmp_path, triple), [INDICES, VALUES, SIZE], rows=1)
    assert {k: v.tolist() for k, v in found.items()} == triple
    assert found["indices"].dtype == np.int64


def test_golden_data_is_taken_case_by_case(tmp_path):
    cases = [({"x": np.full((n, 2), n, "f4")}, {"y": np.zeros(1, "f4")}) for n in (1, 3)]
    (tmp_path / "golden.npz").write_bytes(tensors.encode_golden(cases))
    assert [c["x"].shape for c in calls(tmp_path / "golden.npz", [X], rows=1)] == [(1, 2), (3, 2)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{'x': 1}", "Expecting property name"),
        ('{"x": [[1, 2], [3]]}', "inhomogeneous"),
        ('{"x": {"b64": "!"}}', "base64"),
        ('{"x": null}', "null is no array of numbers or strings"),
        ('{"x": [["a", 1]]}', "1 is no string"),
        pytest.param('{"x": ' + "[" * 200_000, "recursion", id="too deep"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, found):
    failure = refused(lines(tmp_path, {"x": [1, 2]}, line), X)
    assert failure.message.startswith("Line 2 of the samples")
    assert found in failure.found


def test_a_line_must_fit_the_inputs(tmp_path):
    assert "do not fit" in refused(lines(tmp_path, {"x": [1, 2, 3]}), X).message
    assert "lack the input 'text'" in refused(lines(tmp_path, {"x": [1, 2]}), X, TEXT).message
    assert "did you mean 'text'" in refused(lines(tmp_path, {"txt": "a"}), TEXT).message
