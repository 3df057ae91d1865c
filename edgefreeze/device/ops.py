"""The operations of the helper: one table of names, arguments and functions.

Every argument is checked before the function sees it. An operation that changes an app needs the app
opened for writing in the same session.
"""

from typing import Any, Dict, Optional

from edgefreeze.device import checks, protocol, state
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.operations import bringing, looking, running, switching, trusting
from edgefreeze.device.requests import Operation, Request, Result
from edgefreeze.device.session import Session

OPERATIONS: Dict[str, Operation] = {
    **looking.OPERATIONS,
    **bringing.OPERATIONS,
    **running.OPERATIONS,
    **switching.OPERATIONS,
    **trusting.OPERATIONS,
}


def find(name: Any) -> Operation:
    """The operation of this name. Raises protocol."""
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise DeviceError("protocol", "there is no such operation", sorted(OPERATIONS), checks.brief(name))
    return operation


def run(session: Session, operation: Operation, request: Request) -> Result:
    """Check the arguments and do it. Raises DeviceError."""
    try:
        operation.check(request.args, "args")
    except checks.Invalid as error:
        raise DeviceError("protocol", str(error), error.expected, error.found) from None
    if request.blob_bytes > (operation.max_blob or 0):
        raise DeviceError("protocol", "the blob is too large", operation.max_blob or 0, request.blob_bytes)
    with storage("working"):
        return operation.function(session, request)


def device_state(session: Session, args: Any) -> Optional[Dict[str, Any]]:
    """What the app that a request was about runs now; None where there is no such app."""
    name = args.get("app") if isinstance(args, dict) else None
    if not isinstance(name, str) or protocol.NAME.fullmatch(name) is None:
        return None
    app = session.app(name)
    if not app.exists:
        return {"active": None, "previous": None, "phase": state.EMPTY}
    return app.where()
