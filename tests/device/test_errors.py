"""What went wrong on a device becomes a code that the host knows, whatever was raised."""

from __future__ import annotations

import errno
import sys

import pytest

from edgefreeze.device import errors
from edgefreeze.device.errors import CODES, DeviceError


def test_an_error_as_the_reply_has_it() -> None:
    error = DeviceError("locked", "busy", expected=[1], found=None, holder="cam")
    assert error.as_dict() == {
        "code": "locked", "message": "busy", "expected": [1], "found": None, "holder": "cam",
    }  # fmt: skip
    assert str(error) == "busy"
    with pytest.raises(AssertionError):
        DeviceError("no-such-code", "x")
    assert len(set(CODES)) == len(CODES)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-space"), (errno.EDQUOT, "disk-space"), (errno.EIO, "store-io"),
        (errno.EROFS, "store-io"), (errno.EACCES, "store-io"),
    ],
)  # fmt: skip
def test_a_full_file_system_or_quota_is_told_from_other_trouble(number: int, code: str) -> None:
    error = errors.from_os_error(OSError(number, "as the kernel says", "/card/x"), "writing x")
    assert error.code == code
    assert error.message == "writing x: as the kernel says (/card/x)"
    assert error.as_dict()["errno"] == error.found == errno.errorcode[number]
    assert error.more["path"] == "/card/x"


def test_an_os_error_without_number_text_or_path_is_told_by_its_type() -> None:
    error = errors.from_os_error(OSError(), "reading")
    assert (error.code, error.message, error.found) == ("store-io", "reading: OSError", "OSError")
    assert error.more["path"] is None
    assert errors.os_error_name(TimeoutError()) == "TimeoutError"
    # A file is not always named by a text.
    assert errors.from_os_error(OSError(errno.EIO, "bad", 7), "reading").message == "reading: bad"


def test_whatever_was_raised_has_a_code() -> None:
    own = DeviceError("locked", "busy")
    assert errors.from_exception(own, "x") is own
    assert errors.from_exception(OSError(errno.ENOSPC, "full"), "x").code == "disk-space"
    try:
        raise RuntimeError("odd")
    except RuntimeError as raised:
        error = errors.from_exception(raised, "x")
    assert (error.code, error.message) == ("device-internal", "RuntimeError: odd")
    assert "test_errors.py" in error.more["trace"]


@pytest.mark.parametrize("name", ["lzma", "edgefreezer.x", None])
def test_a_module_of_pythons_own_that_cannot_be_loaded_is_pythons_fault(name: str | None) -> None:
    error = errors.from_exception(ImportError("damaged", name=name), "reading a release")
    assert error.code == "python-broken"
    assert error.message == "reading a release: Python cannot load a module of its own: damaged"
    assert (error.expected, error.found) == ("a whole Python installation", sys.executable)


def test_a_module_of_ours_that_cannot_be_loaded_is_our_fault() -> None:
    error = errors.from_exception(ImportError("damaged", name="edgefreeze.device.store"), "x")
    assert error.code == "device-internal"


def test_what_the_storage_says_is_told_with_what_was_being_done() -> None:
    with pytest.raises(DeviceError) as caught, errors.storage("writing x"):
        raise OSError(errno.ENOSPC, "full")
    assert (caught.value.code, caught.value.message) == ("disk-space", "writing x: full")
    with errors.storage("writing x"):
        pass
    with pytest.raises(ValueError, match="mine"), errors.storage("writing x"):
        raise ValueError("mine")
