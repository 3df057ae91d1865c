"""What a request to the helper is, and how its arguments are checked."""

from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

from edgefreeze.device import checks, protocol
from edgefreeze.device.session import Session

EVENT_EVERY_BYTES = 4 << 20
Event = Callable[[Dict[str, Any]], None]


class Request:
    """One request: its checked arguments, its blob, and how to say what is going on."""

    def __init__(self, args: Dict[str, Any], blob: Iterator[bytes], blob_bytes: int, event: Event) -> None:
        self.args = args
        self.blob = blob
        self.blob_bytes = blob_bytes
        self.event = event
        self.reply_blob = b""

    def progress(self, kind: str) -> Callable[[int, int], None]:
        """progress(done, total) that sends an event every few megabytes, and the last."""
        sent = [0]

        def report(done: int, total: int) -> None:
            if done - sent[0] >= EVENT_EVERY_BYTES or done == total:
                sent[0] = done
                self.event({"kind": kind, "done": done, "total": total})

        return report


Result = Dict[str, Any]
Function = Callable[[Session, Request], Result]


class Operation(NamedTuple):
    """A function, its check of the arguments, and how large a blob it takes (None: none)."""

    function: Function
    check: checks.Check
    max_blob: Optional[int] = None


APP = {"app": checks.name}
RELEASE = {"app": checks.name, "release": checks.digest}
THREADS = checks.integer(1, 256)
SECONDS = checks.number(*protocol.WAIT_S)
RUN_ID = checks.text(64, protocol.RUN, "8 to 64 hexadecimal digits")
RUN = {"release": checks.digest, "format": checks.text(130), "threads": THREADS, "timeout_s": SECONDS}


def takes(required: Dict[str, checks.Check], extra: Optional[Dict[str, checks.Check]] = None) -> checks.Check:
    """An object with these arguments and, where they are given, those; no others."""
    return checks.record(required, extra, closed=True)
