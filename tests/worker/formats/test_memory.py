"""All formats of a large model need hardly more memory than the hungriest of them alone."""

import pytest

from tests.worker.formats import cells

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(2400)]


def test_all_formats_of_resnet50_need_at_most_half_more_than_the_largest(folder):
    cells.make(folder, "resnet50")
    alone = {
        cell: cells.run(folder, "resnet50", folder / "alone", [cell]).peak_bytes
        for cell in (("tflite", "fp32"), ("tflite", "int8"), ("onnx", "fp32"), ("onnx", "int8"))
    }
    together = cells.run(folder, "resnet50", folder / "together").peak_bytes
    assert together <= 1.5 * max(alone.values()), (together, alone)
