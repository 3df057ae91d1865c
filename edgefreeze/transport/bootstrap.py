"""The first words to a device: a constant program that takes in the helper and becomes it.

It is started as `python3 -IS -c 'exec("…")'` and reads everything that varies from stdin, so that no
value is ever part of a command line. Conversation, before the framed protocol begins:

    host:   a line of JSON {"sha256", "bytes", "root"}, at once
    device: MAGIC of the bootstrap, then {"need": true} or {"need": false}
    host:   the helper's bytes, where needed; and what it wants to ask the helper first
    device: execs the helper, whose own greeting follows, or one line {"error", "text"}

Where an earlier helper has left its bytecode (device/bytecode.py) for this Python, that is executed: a file
beside the helper that begins with the SHA-256 of its rest.
"""

from __future__ import annotations

import json

MAGIC = "edgefreeze-bootstrap-1"

# Runs on the device: Python 3.0 can still parse it, so that an old one can say so. `os.read` and not
# sys.stdin: what the helper will read must not end in a buffer here.
_PROGRAM = r"""
import os, sys
def say(text):
    os.write(1, (text + "\n").encode())
def line():
    out = b""
    while not out.endswith(b"\n"):
        got = os.read(0, 1)
        if not got:
            sys.exit(1)
        out += got
    return out
say("edgefreeze-bootstrap-1")
if sys.version_info < (3, 8):
    import json
    say(json.dumps({"error": "old-python", "text": "%d.%d.%d" % sys.version_info[:3]}))
    sys.exit(1)
import hashlib, json
try:
    os.umask(0o077)
    ask = json.loads(line().decode())
    root = os.path.expanduser(ask["root"])
    folder = os.path.join(root, "helper")
    start = os.path.join(folder, ask["sha256"])
    path = start + ".pyz"
    os.makedirs(folder, 0o700, exist_ok=True)
    try:
        with open(path, "rb") as file:
            need = not hashlib.sha256(file.read()).hexdigest() == ask["sha256"]
    except OSError:
        need = True
    say(json.dumps({"need": need}))
    if need:
        data = b""
        while len(data) < ask["bytes"]:
            got = os.read(0, min(65536, ask["bytes"] - len(data)))
            if not got:
                sys.exit(1)
            data += got
        if not hashlib.sha256(data).hexdigest() == ask["sha256"]:
            say(json.dumps({"error": "digest-mismatch", "text": "the helper arrived damaged"}))
            sys.exit(1)
        part = "%s.%d.part" % (path, os.getpid())
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, path)
        except OSError:
            try:
                os.unlink(part)
            except OSError:
                pass
            raise
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    for name in os.listdir(folder):
        if name.endswith(".part"):
            try:
                os.kill(int(name.split(".")[-2]), 0)
            except ProcessLookupError:
                os.unlink(os.path.join(folder, name))
            except OSError:
                pass
except (OSError, KeyError, ValueError) as error:
    full = getattr(error, "errno", None) in (28, 122)
    code = "disk-space" if full else "store-io"
    say(json.dumps({"error": code, "text": "%s: %s" % (type(error).__name__, error)}))
    sys.exit(1)
try:
    fast = "%s.%s.pyz" % (start, sys.implementation.cache_tag)
    with open(fast, "rb") as file:
        digest = file.read(64)
        if hashlib.sha256(file.read()).hexdigest().encode() == digest:
            path = fast
except OSError:
    pass
os.execv(sys.executable, [sys.executable, "-I", path, "serve", "--root", root])
"""


def program() -> str:
    """What `python3 -IS -c` is given: one line without single quotes, which sh, bash, dash, zsh, fish and
    csh all pass on unchanged between single quotes."""
    code = "exec(" + json.dumps(_PROGRAM.strip() + "\n") + ")"
    assert not set(code) & set("'!\n")
    return code
