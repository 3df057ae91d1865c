"""Folders of images as a model's input: what is decoded, how it is scaled, which labels belong to it."""

import sys

import numpy as np
import pytest
from PIL import Image

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import images
from edgefreeze.worker.samples import calls


def image_input(shape=(None, 4, 6, 3), dtype="float32"):
    return Tensor(name="image", tensor="image:0", dtype=dtype, shape=shape)


def save(path, colour, size=(6, 4), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three files of one colour each, of three formats and sizes."""
    save(tmp_path / "a.png", (10, 20, 30))
    save(tmp_path / "b.BMP", (40, 50, 60), (12, 8))
    save(tmp_path / "c.jpg", (100, 100, 100), (3, 5), quality=100)
    (tmp_path / "notes.md").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image either")
    return tmp_path


def refused(code, *arguments, **options):
    with pytest.raises(Failure) as caught:
        images.read(*arguments, **options)
    assert caught.value.code == code
    assert caught.value.expected
    return caught.value


def test_images_become_rows_by_file_name(folder):
    found, labels = images.read(folder, image_input(dtype="uint8"))
    assert (found.shape, found.dtype, labels) == ((3, 4, 6, 3), np.uint8, None)
    assert found[:2, 2, 3].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert abs(found[2].astype(int) - 100).max() <= 1


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        (None, [10 / 255, 20 / 255, 30 / 255]),
        ("0..1", [10 / 255, 20 / 255, 30 / 255]),
        ("0..255", [10, 20, 30]),
        ("-1..1", [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1]),
        ("imagenet", [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]),
    ],
)
def test_pixels_are_scaled_as_the_model_was_trained(folder, normalise, expected):
    found, _ = images.read(folder, image_input(), normalise)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], np.broadcast_to(np.array(expected, "f"), (4, 6, 3)), rtol=1e-6)


def test_resizing_is_bilinear_and_shrinking_takes_all_pixels(tmp_path):
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (2, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    found, _ = images.read(tmp_path, image_input((None, 2, 4, 1), "uint8"))
    middle = found[0, 0, 1:3, 0].astype(int)
    # A quarter of the width each, weighted by a triangle around its centre: 5.5 and 9.5 pixels from the left.
    assert abs(middle - [55, 95]).max() <= 1


def test_grey_inputs_take_colour_and_colour_takes_grey(tmp_path):
    save(tmp_path / "a.png", (255, 0, 0))
    save(tmp_path / "b.png", 77, mode="L")
    save(tmp_path / "c.png", (1, 2, 3, 0), mode="RGBA")
    grey, _ = images.read(tmp_path, image_input((1, 4, 6, 1), "uint8"))
    assert grey[:2, 0, 0].tolist() == [[76], [77]]  # ITU-R 601: 0.299 of red
    colour, _ = images.read(tmp_path, image_input((1, 4, 6, 3), "uint8"))
    assert colour[1:, 0, 0].tolist() == [[77, 77, 77], [1, 2, 3]]


def test_folders_are_classes(tmp_path):
    save(tmp_path / "dog" / "x.png", (2, 2, 2))
    save(tmp_path / "cat" / "z.png", (1, 1, 1))
    save(tmp_path / "cat" / "y.png", (0, 0, 0))
    (tmp_path / "empty").mkdir()
    found, labels = images.read(tmp_path, image_input(dtype="uint8"))
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert labels.tolist() == [0, 0, 1]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "file,label\nc.jpg,7\na.png,0\n\nb.BMP,3\n"),
        ("labels.csv", '"a.png","0"\n"b.BMP","3"\n"c.jpg","7"\n'),
        ("labels.txt", "a.png 0\nb.BMP\t3\nc.jpg  7"),
        ("labels.txt", "\ufeffa.png;0\r\nb.BMP;3\r\nc.jpg;7\r\n"),
    ],
)
def test_labels_stand_beside_the_images(folder, name, content):
    (folder / name).write_bytes(content.encode())
    assert images.read(folder, image_input())[1].tolist() == [0, 3, 7]


def test_a_label_stands_behind_a_name_with_blanks_and_commas(tmp_path):
    names = ["my cat.png", "a, b.png", "plain.png"]
    for name in names:
        save(tmp_path / name, (1, 2, 3))
    (tmp_path / "labels.csv").write_text('my cat.png,3\n"a, b.png",1\nplain.png ,\t2\n')
    files = sorted(names)
    expected = [{"my cat.png": 3, "a, b.png": 1, "plain.png": 2}[name] for name in files]
    assert images.read(tmp_path, image_input())[1].tolist() == expected


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a.png,0\nb.BMP,3\n", "none for c.jpg"),
        ("a.png,0\nd.png,3\n", "line 2: d.png"),
        ("a.png,0\nb.BMP,dog\n", "line 2: b.BMP,dog"),
        ("a.png,-1\n", "line 1: a.png,-1"),
        ("a.png,\u00b2\n", "line 1: a.png,\u00b2"),
        ("a.png\n", "line 1: a.png"),
    ],
)
def test_labels_that_do_not_fit_are_named(folder, content, found):
    (folder / "labels.csv").write_text(content)
    failure = refused("samples-bad", folder, image_input())
    assert failure.message == f"The labels {folder / 'labels.csv'} cannot be used."
    assert failure.found == found


def test_an_image_that_cannot_be_read_is_named(folder):
    whole = (folder / "c.jpg").read_bytes()
    for content in (b"", b"\xff\xd8 no jpeg", whole[: len(whole) // 2]):
        (folder / "c.jpg").write_bytes(content)
        failure = refused("samples-bad", folder, image_input())
        assert failure.message == f"The image {folder / 'c.jpg'} cannot be read."
    (folder / "c.jpg").unlink()
    save(folder / "c.png", 40000, mode="I;16")
    assert "8 bits" in refused("samples-bad", folder, image_input()).found


def test_what_is_no_input_of_images_is_told(folder, tmp_path_factory):
    for shape, dtype in (((None, 4), "float32"), ((1, None, 6, 3), "float32"), ((1, 4, 6, 2), "float32"),
                         ((1, 4, 6, 3), "int32"), (None, "float32")):  # fmt: skip
        failure = refused("samples-bad", folder, image_input(shape, dtype))
        assert failure.message == f"The folder {folder} has images, and the input 'image' takes none."
        assert failure.found.startswith(dtype)
    empty = tmp_path_factory.mktemp("empty")
    (empty / "notes.md").write_text("")
    failure = refused("samples-bad", empty, image_input())
    assert (failure.message, failure.found) == (f"The folder {empty} has no images.", "notes.md")
    save(folder / "cat" / "x.png", 0)
    assert "both in itself and in folders" in refused("samples-bad", folder, image_input()).message


def test_normalisations_are_checked(folder):
    failure = refused("usage", folder, image_input(), "0-1")
    assert failure.message.startswith("There is no normalisation '0-1'; did you mean '")
    assert refused("usage", folder, image_input(dtype="uint8"), "imagenet").expected == "0..255"


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    failure = refused("samples-bad", folder, image_input())
    assert failure.next == "pip install 'edgefreeze[convert]'"


def test_a_folder_of_images_is_samples_of_an_input_of_images(folder):
    found = calls(folder, [image_input()], rows=2)
    assert [c["image"].shape for c in found] == [(2, 4, 6, 3), (1, 4, 6, 3)]
    assert found[0]["image"][0, 0, 0].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])
    text = Tensor(name="jpeg", tensor="jpeg:0", dtype="string", shape=(None,))
    assert [c["jpeg"][0][:2] for c in calls(folder, [text], rows=1)][1] == b"BM"  # bytes, as ever
