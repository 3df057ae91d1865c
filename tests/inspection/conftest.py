"""Where the shared models are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def third_party():
    """The shared folder of models that others published."""
    folder = os.environ.get("EDGEFREEZE_MODELS")
    if not folder:
        pytest.skip("EDGEFREEZE_MODELS is not set")
    return Path(folder)
