"""Takes everything of ours off a device. What is not ours stays, and the root folder with it."""

import os
from typing import Any, Dict, List, Tuple

from edgefreeze.device import boot, files
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.session import Session

OURS = ("apps", "runtimes", "prepared.json", "store", "cache", "bench", "trust", "helper")
"""All that we put into the root folder, in the order in which it goes: what a cut leaves is purged again."""


def purge(session: Session, who: str) -> Dict[str, Any]:
    """Remove it all; {"apps", "files", "bytes", "foreign"}: apps that were there, what was removed, names in
    the root folder that are not ours. Nothing more can be asked of the session but to end.

    Raises locked where another session is at work on the device, store-io where something stays.
    """
    apps = [app.name for app in session.every_app()]
    for name in apps:
        session.open(name, who)
    session.trial.unload()
    with session.store.exclusive() as alone:
        if not alone and os.path.isdir(session.store.path):
            raise DeviceError(
                "locked", "another session is at work on this device", "nobody else there", None
            )
        boot.remove(session.root)
        count, size = _measure(session.root)
        for name in OURS:
            _remove(os.path.join(session.root, name))
    session.abandon()
    left = [name for name in OURS if os.path.lexists(os.path.join(session.root, name))]
    if left:
        raise DeviceError("store-io", "not all could be removed", "none of %s" % ", ".join(OURS), left)
    foreign = files.list_folder(session.root)
    if not foreign:
        with storage("removing the root folder"):
            os.rmdir(session.root)
    return {"apps": apps, "files": count, "bytes": size, "foreign": foreign[:100]}


def _measure(root: str) -> Tuple[int, int]:
    """Files of ours and their bytes; content that is linked to several places counts once."""
    seen: Dict[Tuple[int, int], int] = {}
    for name in OURS:
        top = os.path.join(root, name)
        inside = [os.path.join(folder, entry) for folder, _, names in os.walk(top) for entry in names]
        for path in inside or [top]:
            if not os.path.isdir(path) and os.path.lexists(path):
                info = os.lstat(path)
                seen[info.st_dev, info.st_ino] = info.st_size
    return len(seen), sum(seen.values())


def _remove(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        files.remove_file(path)
        return
    folders: List[str] = [path]
    for folder, names, _ in os.walk(path):
        folders += [os.path.join(folder, name) for name in names]
    for folder in folders:
        if not os.path.islink(folder):
            os.chmod(folder, 0o700)
    files.remove_tree(path)
