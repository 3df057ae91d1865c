"""Staging, switching, going back: through the helper, as a host does it."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import files
from edgefreeze.device.app import App
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.session import Session


def test_stage_activate_and_what_status_says(start: Any, root: Path, made: Any, look: Any) -> None:
    helper, release = start(), made()
    release.stage(helper)
    assert helper.events[-1] == {"kind": "verify", "done": 19, "total": 19}
    assert look.whole(root, release.id)
    assert look.current(root) is None
    result = helper.ask("activate", dict(release.named, allow_unverified=True))
    assert result == {"active": release.id, "previous": None, "phase": "COMMITTED", "changed": True}
    assert look.current(root) == release.id
    status = helper.ask("status", {"app": "cam"})
    (app,) = status["apps"]
    assert app["active"] == release.id
    assert app["sequence"] == 7
    assert app["releases"][0]["formats"] == ["frozen_pb"]
    assert app["releases"][0]["bytes"] == 13
    assert app["releases"][0]["activated"]
    assert status["store_bytes"] == 19
    (entry,) = helper.ask("history", {"app": "cam"})["entries"]
    assert (entry["event"], entry["release"], entry["who"], entry["detail"]) == (
        "activated",
        release.id,
        "tester",
        "unsigned; unverified",
    )
    again = helper.ask("activate", dict(release.named, allow_unverified=True))
    assert again["changed"] is False
    assert len(helper.ask("history", {"app": "cam"})["entries"]) == 1


def test_everything_is_private(start: Any, root: Path, made: Any) -> None:
    helper = start()
    made().deploy(helper)
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o077 == 0, path


def test_rollback_and_forth(start: Any, root: Path, made: Any, look: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.deploy(helper)
    result = helper.ask("rollback", {"app": "cam"})
    assert (result["release"], result["previous"], result["active"]) == (one.id, two.id, one.id)
    assert look.current(root) == one.id
    assert helper.ask("rollback", {"app": "cam"})["release"] == two.id
    assert helper.ask("rollback", {"app": "cam", "to": one.id})["release"] == one.id
    assert helper.ask("rollback", {"app": "cam", "to": one.id})["changed"] is False
    events = [e["event"] for e in helper.ask("history", {"app": "cam"})["entries"]]
    assert events == ["activated", "activated", "rolled-back", "rolled-back", "rolled-back"]


def test_rollback_without_a_previous_release(start: Any, made: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    error = helper.refuse("rollback", {"app": "cam"})
    assert error["code"] == "no-previous"
    assert error["device_state"] == {"active": one.id, "previous": None, "phase": "COMMITTED"}
    assert helper.refuse("rollback", {"app": "cam", "to": two.id})["code"] == "no-release"
    two.deploy(helper)
    helper.ask("discard", one.named)
    assert helper.refuse("rollback", {"app": "cam"})["code"] == "no-previous"


def test_rollback_to_a_release_that_is_not_whole(start: Any, root: Path, made: Any, look: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.deploy(helper)
    (root / "apps" / "cam" / "releases" / one.id / "labels.txt").unlink()
    assert helper.refuse("rollback", {"app": "cam"})["code"] == "no-previous"
    assert look.current(root) == two.id


def test_nothing_becomes_active_untested(start: Any, made: Any, look: Any, root: Path) -> None:
    artifact = {
        "format": "frozen_pb",
        "precision": "fp32",
        "status": "verified",
        "path": "saved/deep/model.pb",
        "runtime": "tf_frozen",
        "inputs": [],
        "outputs": [],
    }
    helper, release = start(), made(artifacts=[artifact], python="/nonexistent/python3")
    release.stage(helper)
    for extra in ({}, {"allow_unverified": True}):
        assert helper.refuse("activate", release.named | extra)["code"] == "not-tested"
    result = helper.ask("selftest", release.named)
    assert (result["passed"], result["tested"], result["recorded"]) == (False, 1, True)
    assert result["artifacts"][0]["error"]
    for extra in ({}, {"allow_unverified": True}):
        assert helper.refuse("activate", release.named | extra)["code"] == "selftest-failed"
    assert look.current(root) is None


def test_a_selftest_holds_only_for_what_it_tested(start: Any, root: Path, made: Any) -> None:
    artifact = {
        "format": "frozen_pb",
        "precision": "fp32",
        "status": "verified",
        "path": "saved/deep/model.pb",
        "runtime": "tf_frozen",
    }
    helper, release = start(), made(artifacts=[artifact], python="/nonexistent/python3")
    release.stage(helper)
    helper.ask("selftest", release.named)
    record = root / "apps" / "cam" / "releases" / release.id / "selftest.json"
    verdict = json.loads(record.read_text())
    record.write_text(json.dumps(dict(verdict, passed=True)))
    release.binding = dict(release.binding, runtimes={"tf_frozen": {"tree": None, "paths": ["/elsewhere"]}})
    release.stage(helper)
    assert helper.refuse("activate", release.named)["code"] == "not-tested"


def test_staging_again_verifies_mends_and_takes_what_is_new(
    start: Any, root: Path, made: Any, look: Any
) -> None:
    helper, release = start(), made()
    release.deploy(helper)
    folder = root / "apps" / "cam" / "releases" / release.id
    (folder / "labels.txt").unlink()
    damaged = folder / "saved" / "deep" / "model.pb"  # by its link the store's object as well
    damaged.chmod(0o600)
    damaged.write_bytes(b"MODEL")
    renewed = made(golden=b"other golden")
    assert renewed.id == release.id
    helper.put(*renewed.contents)
    error = helper.refuse("stage", renewed.args)
    assert error["code"] == "digest-mismatch"
    missing = [[look.sha(data), len(data)] for data in renewed.contents]
    assert helper.ask("missing", {"digests": missing})["missing"] == [look.sha(b"model")]
    helper.put(*renewed.contents)
    staged = helper.ask("stage", renewed.args)
    assert staged == {"release": release.id, "known": True, "signed": "unsigned", "enrolled": False}
    assert look.whole(root, release.id)
    assert look.current(root) == release.id


def test_stage_needs_the_content_and_the_trees(start: Any, made: Any, look: Any) -> None:
    helper, release = start(), made()
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    error = helper.refuse("stage", release.args)
    assert error["code"] == "missing-content"
    assert set(error["found"]) == {look.sha(data) for data in release.contents}
    helper.put(*release.contents)
    bound = made(runtimes={"tf_frozen": {"tree": "0" * 64}})
    assert helper.refuse("stage", bound.args)["code"] == "missing-content"


BAD_MANIFESTS = {
    "schema": {"schema": 2},
    "app": {"app": "other"},
    "target": {"target": "../x"},
    "no files": {"files": []},
    "escape": {"files": [{"path": "../x", "sha256": "0" * 64, "bytes": 0}]},
    "absolute": {"files": [{"path": "/etc/x", "sha256": "0" * 64, "bytes": 0}]},
    "reserved": {"files": [{"path": "golden/x", "sha256": "0" * 64, "bytes": 0}]},
    "reserved too": {"files": [{"path": "manifest.json", "sha256": "0" * 64, "bytes": 0}]},
    "twice": {"files": [{"path": "a", "sha256": "0" * 64, "bytes": 0}] * 2},
    "digest": {"files": [{"path": "a", "sha256": "0" * 63, "bytes": 0}]},
    "size": {"files": [{"path": "a", "sha256": "0" * 64, "bytes": -1}]},
    "boolean size": {"files": [{"path": "a", "sha256": "0" * 64, "bytes": True}]},
    "path of an artifact": {
        "artifacts": [{"format": "f", "precision": "p", "status": "unverified", "path": "no"}]
    },
    "runtime": {
        "artifacts": [{"format": "f", "precision": "p", "status": "unverified", "runtime": "os.path"}]
    },
    "verified without a path": {"artifacts": [{"format": "f", "precision": "p", "status": "verified"}]},
    "status": {"artifacts": [{"format": "f", "precision": "p", "status": "fine"}]},
    "no artifacts": {"artifacts": []},
    "NaN": {"artifacts": [{"format": "f", "precision": "p", "status": "refused", "tolerance": float("nan")}]},
}


@pytest.mark.parametrize("change", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_bad_manifests_are_refused_before_anything_is_done(
    start: Any, root: Path, made: Any, look: Any, change: dict[str, Any]
) -> None:
    helper, release = start(), made()
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    helper.put(*release.contents)
    text = json.dumps(release.manifest | change)
    envelope = json.dumps(release.envelope | {"manifest_sha256": look.sha(text.encode())})
    error = helper.refuse("stage", release.args | {"manifest": text, "envelope": envelope})
    assert error["code"] == "bad-manifest"
    assert error["message"]
    assert not (root / "apps" / "cam" / "releases").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": "{"},
        {"manifest": "[]"},
        {"manifest": "\ud800"},
        {"envelope": "{}"},
        {"binding": {}},
        {"binding": {"python": "python3", "runtimes": {}}},
        {"binding": {"python": "/p", "runtimes": {"../x": {"tree": None}}}},
        {"binding": {"python": "/p", "runtimes": {"x": {"tree": "0" * 64, "paths": ["../y"]}}}},
        {"binding": {"python": "/p", "runtimes": {"x": {"tree": None, "paths": ["y"]}}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_bad_envelopes_and_bindings(start: Any, made: Any, change: dict[str, Any]) -> None:
    helper, release = start(), made()
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert helper.refuse("stage", release.args | change)["code"] == "bad-manifest"


def test_an_envelope_of_another_manifest(start: Any, made: Any) -> None:
    helper = start()
    one, two = made(content=b"one"), made(content=b"two")
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert helper.refuse("stage", one.args | {"envelope": two.args["envelope"]})["code"] == "bad-manifest"


def test_discard_refuses_what_runs(start: Any, made: Any, root: Path) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    assert helper.refuse("discard", one.named)["code"] == "in-use"
    two.stage(helper)
    helper.ask("discard", two.named)
    assert helper.refuse("discard", two.named)["code"] == "no-release"
    assert [p.name for p in (root / "apps" / "cam" / "releases").iterdir()] == [one.id]
    assert list((root / "apps" / "cam" / "trash").iterdir()) == []


def test_prune_keeps_what_was_last_active_and_collects_the_rest(
    start: Any, made: Any, root: Path, look: Any
) -> None:
    helper = start()
    releases = [made(content=b"%d" % i) for i in range(5)]
    for release in releases:
        release.deploy(helper)
    helper.ask("rollback", {"app": "cam", "to": releases[0].id})  # active 0, previous 4, then 3, 2, 1
    never = made(content=b"never activated")
    never.stage(helper)
    other = made(app="other", content=b"0")
    other.deploy(helper)
    result = helper.ask("prune", {"app": "cam", "keep": 3})
    assert set(result["releases"]) == {releases[1].id, releases[2].id, never.id}
    assert (result["collected"], result["files"]) == (True, 3)
    kept = {p.name for p in (root / "apps" / "cam" / "releases").iterdir()}
    assert kept == {releases[i].id for i in (0, 3, 4)}
    assert all(look.whole(root, release) for release in kept)
    assert look.whole(root, other.id, "other")
    stored = {p.name for p in (root / "store").glob("??/*")}
    assert stored == {look.sha(d) for d in (b"0", b"3", b"4", b"golden", b"cat\ndog\n")}


def test_a_trial_is_confirmed_or_taken_back(start: Any, made: Any, root: Path, look: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.stage(helper)
    trial = dict(two.named, allow_unverified=True, trial=True)
    assert helper.ask("activate", trial)["phase"] == "TRIAL"
    assert look.current(root) == two.id
    back = helper.ask("rollback", {"app": "cam"})
    assert (back["active"], back["phase"]) == (one.id, "COMMITTED")
    helper.ask("activate", trial)
    assert helper.ask("confirm", {"app": "cam"}) == {
        "active": two.id,
        "previous": one.id,
        "phase": "COMMITTED",
    }
    assert helper.refuse("confirm", {"app": "cam"})["code"] == "not-tested"


def test_a_trial_ends_with_its_session(start: Any, made: Any, root: Path, look: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.stage(helper)
    helper.ask("activate", dict(two.named, allow_unverified=True, trial=True))
    assert helper.close() == 0
    assert look.current(root) == one.id
    entries = start().ask("history", {"app": "cam"})["entries"]
    assert (entries[-1]["event"], entries[-1]["release"]) == ("recovered", one.id)


def test_a_trial_whose_helper_was_killed_is_taken_back_by_the_next(
    start: Any, made: Any, root: Path, look: Any
) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.stage(helper)
    helper.ask("activate", dict(two.named, allow_unverified=True, trial=True))
    helper.process.kill()
    helper.process.wait()
    assert look.current(root) == two.id
    second = start()
    where = second.ask("status", {"app": "cam"})["apps"][0]
    assert (where["active"], where["previous"], where["phase"]) == (two.id, one.id, "TRIAL")
    opened = second.ask("open_app", {"app": "cam", "who": "next", "mode": "write"})
    assert opened["active"] == one.id
    assert len(opened["recovered"]) == 1
    assert look.current(root) == one.id


def test_a_damaged_state_is_rebuilt_from_the_link_and_the_history(
    start: Any, made: Any, root: Path, look: Any
) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.deploy(helper)
    for damage in (b"", b"{", b'{"schema": 1}', b"\xff" * 100):
        (root / "apps" / "cam" / "state.json").write_bytes(damage)
        where = helper.ask("status", {"app": "cam"})["apps"][0]
        assert (where["active"], where["previous"]) == (two.id, one.id)
    assert helper.ask("rollback", {"app": "cam"})["active"] == one.id


def test_a_torn_history_loses_only_the_torn_line(start: Any, made: Any, root: Path) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    with (root / "apps" / "cam" / "history.jsonl").open("ab") as file:
        file.write(b'{"time": "2026')
    two.deploy(helper)
    assert [e["release"] for e in helper.ask("history", {"app": "cam"})["entries"]] == [one.id, two.id]


def test_current_changed_by_hand_is_adopted_and_a_lost_one_restored(
    start: Any, made: Any, root: Path, look: Any
) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.deploy(helper)
    link = root / "apps" / "cam" / "current"
    link.unlink()
    opened = helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert (opened["active"], len(opened["recovered"])) == (two.id, 1)
    link.unlink()
    link.symlink_to("releases/" + one.id)
    opened = helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert (opened["active"], opened["previous"], len(opened["recovered"])) == (one.id, two.id, 1)


def test_one_writer_at_a_time(start: Any, made: Any) -> None:
    first, second = start(), start()
    made().deploy(first)
    error = second.refuse("open_app", {"app": "cam", "who": "rival", "mode": "write"})
    assert error["code"] == "locked"
    assert error["found"]["who"] == "tester"
    assert error["found"]["pid"] == first.process.pid
    assert "tester" in error["message"]
    assert second.ask("open_app", {"app": "cam", "who": "rival", "mode": "read"})["active"]
    assert second.refuse("rollback", {"app": "cam"})["code"] == "protocol"
    first.process.kill()
    first.process.wait()
    second.ask("open_app", {"app": "cam", "who": "rival", "mode": "write"})


@pytest.mark.parametrize("op", ["history", "status", "rollback", "selftest"])
def test_an_app_that_there_is_not(start: Any, made: Any, op: str) -> None:
    args = made(app="ghost").named if op == "selftest" else {"app": "ghost"}
    error = start().refuse(op, args)
    assert error["code"] == ("protocol" if op == "rollback" else "no-app")
    assert error["device_state"] == {"active": None, "previous": None, "phase": "EMPTY"}


def test_an_app_folder_that_is_a_link_is_not_followed(start: Any, root: Path, tmp_path: Path) -> None:
    helper = start()
    (tmp_path / "elsewhere").mkdir()
    (root / "apps").mkdir()
    (root / "apps" / "cam").symlink_to(tmp_path / "elsewhere")
    error = helper.refuse("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert error["code"] == "store-io"
    assert not list((tmp_path / "elsewhere").iterdir())


def several(made: Any) -> Any:
    """A release with a verified artifact in two precisions, and one that is not verified."""
    files = {"a": b"a", "b": b"b", "c": b"c"}
    what = (("a", "fp32", "verified"), ("b", "int8", "verified"), ("c", "fp16", "unverified"))
    return made(
        files=files,
        artifacts=[
            {"format": "tflite", "precision": p, "status": s, "path": path, "runtime": "tflite"}
            for path, p, s in what
        ],
        python="/nonexistent/python3",
        runtimes={"tflite": {"tree": None}},
    )


def test_a_release_says_what_is_preferred_where_it_runs(start: Any, made: Any, root: Path) -> None:
    helper, release = start(), several(made)
    release.stage(helper)
    ask = {**release.named, "allow_unverified": True}
    for wrong in ("onnx", "tflite:fp16", "tflite:16x8"):
        assert helper.refuse("activate", {**ask, "prefer": wrong})["code"] == "no-artifact"
    # Preferring is part of the switch, which needs its self-test as ever.
    assert helper.refuse("activate", {**ask, "prefer": "tflite:int8"})["code"] == "not-tested"
    (app,) = helper.ask("status", {"app": "cam"})["apps"]
    assert app["releases"][0]["preferred"] == "tflite:int8"
    assert app["releases"][0]["formats"] == ["tflite", "tflite:int8", "tflite:fp16"]
    (root / "apps" / "cam" / "releases" / release.id / "preferred.json").write_text("{")
    (app,) = helper.ask("status", {"app": "cam"})["apps"]
    assert app["releases"][0]["preferred"] is None


@pytest.mark.parametrize(
    ("preferred", "wanted", "chosen"),
    [
        (None, None, "fp32"),
        ("tflite:int8", None, "int8"),
        ("tflite:int8", "tflite", "fp32"),
        (None, "tflite:int8", "int8"),
    ],
)
def test_what_runs_is_what_is_asked_for_or_preferred_or_first(
    made: Any, preferred: str | None, wanted: str | None, chosen: str
) -> None:
    from types import SimpleNamespace

    from edgefreeze.device.measure import choose

    bench: Any = SimpleNamespace(manifest=several(made).manifest, preferred=preferred)
    assert choose(bench, wanted)["precision"] == chosen


def test_a_manifest_with_a_wrong_bit_is_mended(start: Any, made: Any, root: Path, look: Any) -> None:
    helper, one, two = start(), made(content=b"one"), made(content=b"two")
    one.deploy(helper)
    two.deploy(helper)
    file = root / "apps" / "cam" / "releases" / one.id / "manifest.json"
    file.chmod(0o600)
    file.write_bytes(b"[" + file.read_bytes()[1:])
    helper.refuse("activate", dict(one.named, allow_unverified=True))
    one.deploy(helper)
    assert look.current(root) == one.id
    assert look.whole(root, one.id)


def test_a_pinned_release_is_never_pruned(start: Any, made: Any, root: Path) -> None:
    helper, releases = start(), [made(content=b"%d" % number) for number in range(5)]
    releases[0].deploy(helper)
    assert helper.ask("pin", dict(releases[0].named, keep=True))["changed"]
    assert not helper.ask("pin", dict(releases[0].named, keep=True))["changed"]
    for release in releases[1:]:
        release.deploy(helper)
    gone = helper.ask("prune", {"app": "cam", "keep": 1})["releases"]
    assert sorted(gone) == sorted(release.id for release in releases[1:3])
    status = helper.ask("status", {"app": "cam"})["apps"][0]["releases"]
    assert {r["id"] for r in status if r["pinned"]} == {releases[0].id}
    assert helper.refuse("pin", dict(releases[1].named, keep=True))["code"] == "no-release"
    assert helper.ask("pin", dict(releases[0].named, keep=False))["changed"]
    assert helper.ask("prune", {"app": "cam", "keep": 1})["releases"] == [releases[0].id]
    events = [e["event"] for e in helper.ask("history", {"app": "cam"})["entries"]]
    assert [e for e in events if "pin" in e] == ["pinned", "unpinned"]
    # A file that cannot be read lets nothing go.
    (root / "apps" / "cam" / "pins.json").write_text("{")
    releases[0].deploy(helper)
    assert helper.ask("prune", {"app": "cam", "keep": 1})["releases"] == []


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["write_all", "remove_unfinished"])
def test_an_app_that_could_not_be_opened_is_not_locked_for_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Neither where the lock cannot be written nor where what was left cannot be put right."""
    session = Session(str(tmp_path), "program")
    with monkeypatch.context() as broken:
        broken.setattr(files, step, full)
        with pytest.raises(DeviceError) as caught:
            session.open("cam", "tester")
        assert caught.value.code == "disk-space"
    app, _ = session.open("cam", "tester")
    assert app.writable
    with pytest.raises(DeviceError) as caught:
        Session(str(tmp_path), "program").open("cam", "another")
    assert (caught.value.code, caught.value.found["who"]) == ("locked", "tester")
    session.close()


def test_a_session_that_cannot_commit_goes_back_from_its_trials_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(str(tmp_path), "program")
    session.store.hold()
    for name in ("cam", "door"):
        session.open(name, "tester")
    closed: list[str] = []

    def close(app: App) -> None:
        closed.append(app.name)
        full()

    monkeypatch.setattr(App, "close", close)
    monkeypatch.setattr(session.store, "commit", full)
    with pytest.raises(OSError, match="No space"):
        session.close()
    assert sorted(closed) == ["cam", "door"]
    with session.store.exclusive() as alone:
        assert alone
