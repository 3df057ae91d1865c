"""What a path holds, told by content, without TensorFlow: unit tests of the sniffing."""

import struct

import pytest

from edgefreeze.errors import Failure
from edgefreeze.worker import hdf5, sources, wire

NODE = b"\x0a\x08\x0a\x01x\x12\x03Foo"  # GraphDef.node {name: "x", op: "Foo"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NODE, "GraphDef"),
        (NODE + NODE[:5], "GraphDef"),  # cut short, still a graph
        (NODE[:6], None),
        (b"\x0a\x02\x2a\x00\x12\x00", "MetaGraphDef"),
        (b"\x08\x01\x12\x04abcd", "SavedModel"),
        (b"\x08\x07\x1a\x04abcd", None),  # an ONNX file begins so
        (b"  # made by hand\nnode {\n  name: 'x' }", "GraphDef"),
        (b"node: <name: 'x'>", "GraphDef"),
        (b"meta_info_def {\n}", "MetaGraphDef"),
        (b"saved_model_schema_version: 1", "SavedModel"),
        (b"nodes of the network", None),
        (b"\x00", None),
        (b"\xff" * 64, None),
    ],
)
def test_messages_are_told_by_their_first_fields(tmp_path, content, message):
    file = tmp_path / "any.name"
    file.write_bytes(content)
    assert wire.message(file) == message


def test_an_object_graph_makes_a_saved_model_one_of_tensorflow_2(tmp_path):
    file = tmp_path / "saved_model.pb"
    for meta, expected in ((b"\x12\x00", False), (b"\x12\x00\x3a\x00", True)):
        file.write_bytes(b"\x08\x01\x12" + bytes([len(meta)]) + meta)
        assert wire.has_object_graph(file) is expected
        assert wire.graphs_in(file) == 1
    file.write_bytes(b"\x08\x01\x12\x7f")
    assert wire.has_object_graph(file) is None
    assert wire.graphs_in(file) == 0


def attribute(version, name, value):
    """An attribute message of HDF5 with a string of fixed length."""
    datatype = struct.pack("<BBBBI", 0x13, 0, 0, 0, len(value))
    space = b"\x02\x00\x00\x00"
    parts = [name.encode() + b"\0", datatype, space]
    sizes = [len(part) for part in parts]
    if version == 1:
        parts = [part.ljust((len(part) + 7) // 8 * 8, b"\0") for part in parts]
    return (
        bytes([version, 0])
        + struct.pack("<HHH", *sizes)
        + (b"\0" if version == 3 else b"")
        + b"".join(parts)
        + value
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_strings_are_read_out_of_hdf5(tmp_path, version):
    file = tmp_path / "any.name"
    content = hdf5.MAGIC + b"keras_version\0 in passing " + attribute(version, "keras_version", b"2.4.0\0\0")
    file.write_bytes(content)
    assert hdf5.attribute(file, "keras_version") == "2.4.0"
    assert hdf5.attribute(file, "backend") is None
    file.write_bytes(content[:-8] + b"")
    assert hdf5.attribute(file, "keras_version") != "2.4.0"


def test_the_version_in_a_keras_file_says_which_keras_reads_it(tmp_path):
    for version, kind in (("2.4.0", "keras2"), ("3.5.0", "keras")):
        file = tmp_path / version
        file.write_bytes(
            hdf5.MAGIC + attribute(1, "keras_version", version.encode()) + attribute(1, "model_config", b"{}")
        )
        assert sources.find(file) == kind


def test_the_inner_file_of_a_saved_model_points_to_its_folder(tmp_path):
    file = tmp_path / "saved_model.pb"
    file.write_bytes(b"\x08\x01\x12\x00")
    with pytest.raises(Failure) as caught:
        sources.find(file)
    assert caught.value.found == f"the inner file of a SavedModel; give its folder, {tmp_path}"


def checkpoint(folder, name, *suffixes):
    folder.mkdir(exist_ok=True)
    for suffix in suffixes:
        content = b"\x0a\x02\x2a\x00\x12\x00" if suffix == ".meta" else b"values"
        (folder / f"{name}{suffix}").write_bytes(content)


def test_a_checkpoint_is_found_by_any_of_its_names(tmp_path):
    checkpoint(tmp_path / "a", "model-7", ".meta", ".index", ".data-00000-of-00001")
    for name in ("", "model-7", "model-7.meta", "model-7.index", "model-7.data-00000-of-00001"):
        assert sources.find(tmp_path / "a" / name) == "checkpoint", name
    for name in ("model-8", "model"):
        with pytest.raises(Failure) as caught:
            sources.find(tmp_path / "a" / name)
        assert caught.value.code == "model-missing"


def test_the_checkpoint_file_says_which_of_several_is_meant(tmp_path):
    from edgefreeze.worker.sources import checkpoint as module

    for name in ("model-7", "model-8"):
        checkpoint(tmp_path, name, ".meta", ".index", ".data-00000-of-00001")
    with pytest.raises(Failure) as caught:
        module.find(tmp_path)
    assert (caught.value.code, caught.value.found) == ("model-signature-choice", "model-7, model-8")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model-7"\n')
    found = module.find(tmp_path)
    assert found.values == str(tmp_path / "model-7")
    assert {p.name for p in found.parts} == {
        "model-7.meta",
        "model-7.index",
        "model-7.data-00000-of-00001",
    }
