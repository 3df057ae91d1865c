"""Whose releases are taken."""

from typing import Dict

from edgefreeze.device import (
    checks,
    sshsig,
    trust,
)
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.requests import Operation, Request, Result, takes
from edgefreeze.device.session import Session


def _trust(session: Session, request: Request) -> Result:
    return dict(session.trust.describe(), entries=session.trust.history())


def _trust_add(session: Session, request: Request) -> Result:
    try:
        key, comment = sshsig.parse_key(request.args["key"])
    except sshsig.Malformed as error:
        raise DeviceError("untrusted", str(error)) from None
    changed = session.trust.enrol(key, comment, request.args["who"], "signer-added", "by edgefreeze trust")
    return dict(session.trust.describe(), changed=changed, fingerprint=key.fingerprint)


def _trust_remove(session: Session, request: Request) -> Result:
    session.trust.remove(request.args["fingerprint"], request.args["who"])
    return dict(session.trust.describe(), changed=True)


def _trust_policy(session: Session, request: Request) -> Result:
    changed = session.trust.policy() != request.args["policy"]
    session.trust.decide(request.args["policy"], request.args["who"])
    return dict(session.trust.describe(), changed=changed)


OPERATIONS: Dict[str, Operation] = {
    "trust": Operation(_trust, takes({})),
    "trust_add": Operation(_trust_add, takes({"key": checks.text(sshsig.MAX_KEY), "who": checks.line})),
    "trust_remove": Operation(_trust_remove, takes({"fingerprint": checks.line, "who": checks.line})),
    "trust_policy": Operation(
        _trust_policy, takes({"policy": checks.one_of(trust.REQUIRE, trust.ALLOW), "who": checks.line})
    ),
}
