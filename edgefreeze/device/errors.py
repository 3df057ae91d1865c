"""What can go wrong on a device, as codes that the host maps to its own errors."""

import errno
import sys
import traceback
from contextlib import contextmanager
from typing import Any, Dict, Iterator

CODES = (
    "bad-input",  # the tensors given to infer are not what the model takes
    "bad-manifest",
    "bad-pack",  # a file that is no release
    "device-internal",
    "digest-mismatch",
    "disk-space",
    "health-failed",  # the release before runs again
    "hook-failed",  # the same
    "in-use",  # it is the release that is active
    "locked",
    "missing-content",  # the store lacks what a tree or a release is made of
    "no-app",
    "no-artifact",  # the release has no such format that could run
    "no-cpu",  # a processor that is not there, or not allowed
    "no-previous",
    "no-release",
    "not-tested",
    "protocol",
    "python-broken",  # a module of its interpreter cannot be loaded
    "python-missing",
    "replayed",  # a signed release older than one that was active
    "rollback-failed",  # the release before is in its place, and its hook failed
    "runner-died",
    "runner-timeout",
    "runtime-failed",
    "selftest-failed",
    "store-io",
    "untrusted",  # the signature is wrong, or nobody's whom the device trusts, or missing
)


class DeviceError(Exception):
    """A failure with a code of CODES. `expected`, `found` and `more` (further fields) are JSON values."""

    def __init__(self, code: str, message: str, expected: Any = None, found: Any = None, **more: Any) -> None:
        assert code in CODES, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.expected = expected
        self.found = found
        self.more = more

    def as_dict(self) -> Dict[str, Any]:
        """The `error` field of a reply."""
        fields: Dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "expected": self.expected,
            "found": self.found,
        }
        fields.update(self.more)
        return fields


def os_error_name(error: OSError) -> str:
    """ "ENOSPC", or the error's type where it has no number."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def from_os_error(error: OSError, doing: str) -> DeviceError:
    """disk-space where the file system (or a quota) is full, store-io for the rest."""
    name = os_error_name(error)
    code = "disk-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "store-io"
    path = error.filename if isinstance(error.filename, str) else None
    message = "%s: %s%s" % (doing, error.strerror or name, " (%s)" % path if path else "")
    return DeviceError(code, message, found=name, errno=name, path=path)


def from_exception(error: Exception, doing: str) -> DeviceError:
    """Whatever went wrong, with a code: device-internal, with the trace, where it is our own fault."""
    if isinstance(error, DeviceError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error, doing)
    if isinstance(error, ImportError) and not (error.name or "").startswith("edgefreeze."):
        message = "%s: Python cannot load a module of its own: %s" % (doing, error)
        return DeviceError("python-broken", message, "a whole Python installation", sys.executable)
    message = "%s: %s" % (type(error).__name__, error)
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return DeviceError("device-internal", message, trace=trace)


@contextmanager
def storage(doing: str) -> Iterator[None]:
    """Turn an OSError into a DeviceError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error
