"""What one connection to the helper holds: the store, the runtimes, the apps that it opened."""

import os
from contextlib import ExitStack
from typing import Dict, List, Optional, Tuple

from edgefreeze.device import boot, files, protocol
from edgefreeze.device.app import App
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.governor import Governor
from edgefreeze.device.measure import Bench
from edgefreeze.device.store import Store
from edgefreeze.device.trees import Trees
from edgefreeze.device.trial import Trial
from edgefreeze.device.trust import Trust


class Session:
    """One connection's view of the device."""

    def __init__(self, root: str, program: str) -> None:
        self.root = root
        self.program = program
        self.store = Store(root)
        self.trees = Trees(root, self.store)
        self.trial = Trial(root, program, self.store, self.trees)
        self.trust = Trust(root)
        self.governor = Governor(program)
        self._apps: Dict[str, App] = {}

    def app(self, name: str) -> App:
        """An app, to read; it need not be there."""
        known = self._apps.get(name)
        return App(self.root, name, self.store, self.program) if known is None else known

    def existing(self, name: str) -> App:
        """An app that must be there. Raises no-app."""
        app = self.app(name)
        app.require()
        return app

    def opened(self, name: str) -> App:
        """An app that this session may change. Raises protocol where it was not opened for that."""
        app = self._apps.get(name)
        if app is None or not app.writable:
            raise DeviceError(
                "protocol", "the app was not opened for writing", "open_app with mode write", name
            )
        return app

    def open(self, name: str, who: str) -> Tuple[App, List[str]]:
        """Open an app for writing. Raises locked, store-io."""
        app = self.app(name)
        recovered = app.open_for_writing(who)
        self._apps[name] = app
        boot.keep(self.root, self.program)
        return app, recovered

    def every_app(self) -> List[App]:
        """All apps of the device."""
        names = files.list_folder(os.path.join(self.root, "apps"))
        return [self.app(name) for name in names if protocol.NAME.fullmatch(name)]

    def bench(self, app: App, release: Optional[str]) -> Bench:
        """The bench for a release, the active one where none is named. Raises no-release."""
        chosen = release or app.memory.current()
        if chosen is None:
            raise DeviceError("no-release", "no release of the app is active", "a release", None)
        return Bench(self.root, self.program, self.trees, app.releases, chosen)

    def abandon(self) -> None:
        """Let go of everything without a look at it: it is not there any more."""
        for app in self._apps.values():
            app.abandon()
        self._apps = {}
        self.store.release()

    def close(self) -> None:
        """Go back from trials and governors, make durable what was received, let the locks go: each of these
        whatever became of those before it. Raises the last error."""
        with ExitStack() as leaving:
            leaving.callback(self.store.release)
            for app in self._apps.values():
                leaving.callback(app.close)
            leaving.callback(self.store.commit)
            leaving.callback(self.governor.restore)
            leaving.callback(self.trial.unload)
