"""Reading protobuf messages from files, in binary or as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.worker import wire


def parse(path: Path, message: Any) -> Any:
    """The message filled with the file's content. Raises Failure model-broken."""
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    try:
        if wire.is_text(path):
            # Text of another version may have fields that this one does not know, as binary may.
            text_format.Parse(path.read_text("utf-8"), message, allow_unknown_field=True)
        else:
            message.ParseFromString(path.read_bytes())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(
            "model-broken",
            f"The file {path} is damaged or cut short.",
            expected=f"a whole {message.DESCRIPTOR.name}",
            found=clean(str(error), 300) or type(error).__name__,
            next="Save or copy the model again.",
        ) from error
    return message
