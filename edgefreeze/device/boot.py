"""The unit of the user's own systemd that goes back from a trial which a power cut has left: put there, taken
away, looked at.

    ~/.config/systemd/user/edgefreeze-recover.service
    ~/.config/systemd/user/default.target.wants/edgefreeze-recover.service -> ../edgefreeze-recover.service
    ROOT/helper/recover.pyz     the helper that it runs: a copy of the one that last changed an app

The link is what `systemctl --user enable` makes. It is made here, so that it is synced, and is there where no
systemd of the user's answers. At boot that systemd starts only for a user who lingers.
"""

import os
import pwd
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

from edgefreeze.device import files, unit
from edgefreeze.device.checks import Invalid
from edgefreeze.device.errors import DeviceError, storage

LIMIT = 64 * 1024
SYSTEMCTL_S = 10.0
LINGER = "/var/lib/systemd/linger"
BOOTED = "/run/systemd/system"
"""There where systemd is the system's first process: sd_booted(3)."""
_WANTS = "default.target.wants"


def install(root: str, program: str) -> Dict[str, Any]:
    """Put the unit there and enable it; as look(), with "changed" and "told": systemd of the user's answered.

    Raises store-io, disk-space.
    """
    folder, name = _place(root)
    argv = [sys.executable, "-I", _copy(root), "recover", "--root", root]
    try:
        wanted = unit.text(argv)
    except ValueError as error:
        raise DeviceError("store-io", str(error), "paths that systemd takes", argv) from None
    changed = look(root)["enabled"] is False or _read(os.path.join(folder, name)) != wanted
    with storage("writing the unit"):
        files.make_folder(os.path.join(root, "helper"))
        _write_copy(root, program)
        _make_folders(os.path.join(folder, _WANTS))
        files.write_durably(os.path.join(folder, name), wanted.encode("utf-8"))
        _enable(os.path.join(folder, _WANTS), name)
    return dict(look(root), changed=changed, told=_tell())


def remove(root: str) -> Dict[str, Any]:
    """Take it all away, and the folders that are empty then; as install(). Raises store-io."""
    folder, name = _place(root)
    link, file = os.path.join(folder, _WANTS, name), os.path.join(folder, name)
    changed = os.path.lexists(link) or os.path.lexists(file)
    with storage("removing the unit"):
        for path in (link, file, _copy(root)):
            if os.path.lexists(path):
                os.unlink(path)
                files.fsync_path(os.path.dirname(path))
    if changed:
        _remove_empty(os.path.join(folder, _WANTS), 4)
    return dict(look(root), changed=changed, told=changed and _tell())


def keep(root: str, program: str) -> None:
    """Have the unit run this helper from now on, if there is a unit: who writes a trial can read it at boot.

    Where that fails it goes on with the helper that it has.
    """
    if not os.path.exists(_copy(root)):
        return
    try:
        _write_copy(root, program)
    except (OSError, Invalid):
        pass  # a full disk is no reason not to go back to an old release


def look(root: str) -> Dict[str, Any]:
    """{"unit", "enabled", "lacks", "booted", "user", "lingers"}.

    unit: its file, None where it is not there. lacks: what it would run and is not there. booted: with
    systemd. lingers: the user's systemd starts at boot, and not only at login.
    """
    folder, name = _place(root)
    written = _read(os.path.join(folder, name))
    argv = unit.command(written) if written is not None else []
    lacks = [path for path in (argv[:1] + argv[2:3]) if not os.path.isfile(path)]
    user = _user()
    return {
        "unit": None if written is None else os.path.join(folder, name),
        "enabled": written is not None and os.path.exists(os.path.join(folder, _WANTS, name)),
        "lacks": lacks if written is None or argv else ["ExecStart="],
        "booted": os.path.isdir(BOOTED),
        "user": user,
        "lingers": os.path.exists(os.path.join(LINGER, user)),
    }


def _place(root: str) -> Tuple[str, str]:
    """The folder of the user's units, and this one's name."""
    home = os.path.expanduser("~")
    usual = os.path.realpath(os.path.join(home, ".edgefreeze"))
    return os.path.join(home, ".config", "systemd", "user"), unit.name(root, usual)


def _copy(root: str) -> str:
    return os.path.join(root, "helper", "recover.pyz")


def _write_copy(root: str, program: str) -> None:
    copy, data = _copy(root), files.read_bytes(program)
    if os.path.realpath(program) != copy and _bytes(copy) != data:
        files.remove_unfinished(os.path.dirname(copy))
        files.write_durably(copy, data)


def _bytes(path: str) -> Optional[bytes]:
    try:
        return files.read_bytes(path)
    except (OSError, Invalid):
        return None


def _read(path: str) -> Optional[str]:
    """A unit's text; a link in its place is followed: it is the user's own folder."""
    try:
        with open(path, "rb") as stream:
            return stream.read(LIMIT).decode("utf-8", "replace")
    except OSError:
        return None


def _make_folders(path: str) -> None:
    """Make a folder and those above it that are missing, durably. The user's links are followed."""
    if os.path.isdir(path):
        return
    _make_folders(os.path.dirname(path))
    os.mkdir(path, 0o700)
    files.fsync_path(os.path.realpath(os.path.dirname(path)))


def _enable(wants: str, name: str) -> None:
    link, target = os.path.join(wants, name), os.path.join(os.pardir, name)
    if not os.path.islink(link) or os.readlink(link) != target:
        temporary = os.path.join(wants, ".%s.link" % files.random_name())
        os.symlink(target, temporary)
        os.rename(temporary, link)
    files.fsync_path(os.path.realpath(wants))


def _remove_empty(folder: str, levels: int) -> None:
    for _ in range(levels):
        try:
            os.rmdir(folder)
        except OSError:
            return  # there are others' units
        folder = os.path.dirname(folder)


def _tell() -> bool:
    """Have a systemd of the user's that runs already read its units anew; False where none answers."""
    command: List[str] = ["systemctl", "--user", "daemon-reload"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SYSTEMCTL_S,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
