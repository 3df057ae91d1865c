"""One model, converted into everything once for all tests of this folder."""

import pytest

from tests.worker.formats import cells


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where models are written."""
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="session")
def small(folder):
    """(proved conversion, its folder) of the small CNN in every cell."""
    cells.make(folder, cells.CI)
    out = folder / "small_out"
    more = {"labels": [f"class {i}" for i in range(10)], "normalise": "pixel / 255"}
    return cells.run(folder, cells.CI, out, **more), out


@pytest.fixture(scope="session")
def artifacts(small):
    """The small CNN's artifacts by (format, precision)."""
    return {(a.format, a.precision): a for a in small[0].artifacts}
