"""The helper's bytecode, kept beside it: compiling all of it at each start takes a small board half a second.

`<digest>.<cache tag>.pyz` is the SHA-256, in hex, of the rest of the file, and then a zip of bytecode.
The bootstrap executes it in place of `<digest>.pyz` where that digest holds, so it needs no fsync; damaged or
missing, it is written anew. A zip may have something before it.
"""

import os
import sys


def source_of(program: str) -> str:
    """The helper's sources, for whichever Python: `program` itself, or what it was compiled from."""
    name = os.path.basename(program)
    suffix = ".%s.pyz" % sys.implementation.cache_tag
    if name.endswith(suffix):
        return os.path.join(os.path.dirname(program), name[: -len(suffix)] + ".pyz")
    return program


def keep(program: str, running: str) -> None:
    """Write the bytecode of `program` beside it, unless that is what is running. What fails is left."""
    target = "%s.%s.pyz" % (program[: -len(".pyz")], sys.implementation.cache_tag)
    if running == target or not program.endswith(".pyz"):
        return
    try:
        # A file without a name until it is whole: whatever ends this leaves nothing over.
        fd = os.open(os.path.dirname(target), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(_compiled(program))
            file.flush()
            if os.path.exists(target):
                os.unlink(target)
            os.link("/proc/self/fd/%d" % fd, target, src_dir_fd=fd)  # with a dir_fd it follows that link
    except OSError:
        pass


def _compiled(program: str) -> bytes:
    # Not at the top: where the file is there already, the helper starts without these.
    import hashlib
    import importlib.util
    import io
    import marshal
    import zipfile

    head = importlib.util.MAGIC_NUMBER + bytes(12)  # PEP 552: no flags, no time and size of a source
    out = io.BytesIO()
    with zipfile.ZipFile(program) as sources, zipfile.ZipFile(out, "w") as made:
        for name in sources.namelist():
            code = compile(sources.read(name), name, "exec", dont_inherit=True)
            made.writestr(zipfile.ZipInfo(name + "c"), head + marshal.dumps(code))
    whole = out.getvalue()
    return hashlib.sha256(whole).hexdigest().encode() + whole
