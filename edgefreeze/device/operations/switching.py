"""Which release an app runs, and what goes."""

from typing import Dict, Set

from edgefreeze.device import (
    boot,
    checks,
)
from edgefreeze.device.changeover import change_over
from edgefreeze.device.purge import purge
from edgefreeze.device.requests import APP, RELEASE, Operation, Request, Result, takes
from edgefreeze.device.service import check_plan as check_service
from edgefreeze.device.session import Session


def _activate(session: Session, request: Request) -> Result:
    args = request.args
    app = session.opened(args["app"])
    how = {name: args[name] for name in ("allow_unverified", "detail", "prefer") if name in args}
    plan = args.get("service")
    if plan is not None:
        changed = change_over(app, args["release"], plan, request.event, **how)
    else:
        changed = app.activate(args["release"], args.get("trial", False), **how)
    return dict(app.where(), changed=changed)


def _confirm(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    app.confirm()
    return app.where()


def _rollback(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    return dict(app.rollback(request.args.get("to")), **app.where())


def _discard(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    app.discard(request.args["release"])
    return app.where()


def _pin(session: Session, request: Request) -> Result:
    app = session.opened(request.args["app"])
    return dict(app.where(), changed=app.pin(request.args["release"], request.args["keep"]))


def _prune(session: Session, request: Request) -> Result:
    """Discard old releases, then what no release of any app needs, unless another session is at work."""
    gone = session.opened(request.args["app"]).prune(request.args["keep"])
    result: Result = {"releases": gone, "trees": 0, "files": 0, "bytes": 0, "collected": False}
    session.store.commit()
    with session.store.exclusive() as alone:
        if alone:
            digests: Set[str] = set()
            used: Set[str] = set()
            for app in session.every_app():
                app_digests, app_trees = app.releases.referenced()
                digests |= app_digests
                used |= app_trees
            result.update(session.trees.collect(used))
            result.update(session.store.sweep(digests | session.trees.referenced()), collected=True)
    return result


def _recover_at_boot(session: Session, request: Request) -> Result:
    if request.args["keep"]:
        return boot.install(session.root, session.program)
    return boot.remove(session.root)


def _purge(session: Session, request: Request) -> Result:
    return purge(session, request.args["who"])


OPERATIONS: Dict[str, Operation] = {
    "activate": Operation(
        _activate,
        takes(
            RELEASE,
            {
                "trial": checks.flag,
                "allow_unverified": checks.flag,
                "detail": checks.text(4096),
                "prefer": checks.text(130),
                "service": check_service,
            },
        ),
    ),
    "confirm": Operation(_confirm, takes(APP)),
    "rollback": Operation(_rollback, takes(APP, {"to": checks.digest})),
    "discard": Operation(_discard, takes(RELEASE)),
    "pin": Operation(_pin, takes({**RELEASE, "keep": checks.flag})),
    "prune": Operation(_prune, takes({"app": checks.name, "keep": checks.integer(0, 10_000)})),
    "recover_at_boot": Operation(_recover_at_boot, takes({"keep": checks.flag})),
    "purge": Operation(_purge, takes({"who": checks.line})),
}
