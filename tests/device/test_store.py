import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import files, store, trees
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.protocol import EndOfStream
from edgefreeze.device.store import Store


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def put(opened: Store, data: bytes, look: Any, offset: int = 0) -> str:
    digest: str = look.sha(data)
    opened.put(digest, len(data), [data[offset:]], offset)
    return digest


def test_content_gets_its_name_at_commit_and_not_before(opened: Store, look: Any) -> None:
    digest = put(opened, b"hello", look)
    path = Path(opened.object_path(digest))
    assert not path.exists()
    assert opened.has(digest, 5)
    assert opened.commit() == 1
    assert path.read_bytes() == b"hello"
    assert path.stat().st_mode & 0o777 == 0o400
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert opened.commit() == 0
    assert not put_again(opened, b"hello", look)


def put_again(opened: Store, data: bytes, look: Any) -> bool:
    return opened.put(look.sha(data), len(data), iter(()))


def test_what_passes_through_never_gets_a_name(opened: Store, look: Any) -> None:
    kept = put(opened, b"kept", look)
    digest: str = look.sha(b"passing")
    assert opened.put(digest, 7, [b"passing"], passing=True)
    assert not opened.put(digest, 7, iter(()), passing=True)
    assert opened.commit() == 1
    assert not opened.has(digest, 7)
    folder = Path(opened.scratch([("a/x", digest, 7), ("y", kept, 4)]))
    assert ((folder / "a" / "x").read_bytes(), (folder / "y").read_bytes()) == (b"passing", b"kept")
    put(opened, b"passing", look)  # of a release that has the same file
    assert (folder / "a" / "x").read_bytes() == b"passing"
    opened.release()
    assert not folder.exists()
    assert Path(opened.object_path(kept)).read_bytes() == b"kept"
    assert not Path(opened.object_path(digest)).exists()


def test_a_damaged_file_is_not_run(opened: Store, look: Any) -> None:
    digest = put(opened, b"whole", look)
    opened.commit()
    path = Path(opened.object_path(digest))
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(DeviceError) as caught:
        opened.scratch([("x", digest, 5)])
    assert caught.value.code == "digest-mismatch"


def test_every_file_is_synced_before_it_has_its_name(
    opened: Store, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real_fsync(fd)

    def rename(source: str, target: str) -> None:
        assert Path(source).stat().st_ino in synced
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    digests = [put(opened, b"%d" % i, look) for i in range(50)]
    opened.commit()
    for digest in digests:
        assert Path(opened.object_path(digest)).parent.stat().st_ino in synced


def test_what_is_not_what_was_announced_leaves_nothing(opened: Store, look: Any, tmp_path: Path) -> None:
    for size in (5, store.RESUMABLE):
        with pytest.raises(DeviceError) as caught:
            opened.put(look.sha(b"a" * size), size, [b"b" * size])
        assert caught.value.code == "digest-mismatch"
        assert caught.value.found == look.sha(b"b" * size)
    assert opened.commit() == 0
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock"] == []


def test_a_large_file_that_breaks_off_is_resumed(opened: Store, look: Any, tmp_path: Path) -> None:
    data = os.urandom(3 * store.RESUMABLE)
    digest = look.sha(data)

    def broken() -> Any:
        yield data[: store.RESUMABLE]
        yield data[store.RESUMABLE : store.RESUMABLE + 77]
        raise EndOfStream("cut")

    with pytest.raises(EndOfStream):
        opened.put(digest, len(data), broken())
    opened.release()
    again = Store(str(tmp_path))
    absent, partial = again.missing([(digest, len(data))])
    assert absent == [digest]
    assert partial == {digest: store.RESUMABLE + 77}
    assert again.put(digest, len(data), [data[partial[digest] :]], partial[digest])
    again.commit()
    assert Path(again.object_path(digest)).read_bytes() == data
    assert again.missing([(digest, len(data))]) == ([], {})


def test_a_damaged_partial_file_is_started_again(opened: Store, look: Any, tmp_path: Path) -> None:
    data = os.urandom(2 * store.RESUMABLE)
    digest = look.sha(data)
    opened.hold()
    kept = tmp_path / "store" / "partial" / digest
    kept.write_bytes(b"x" * 1000)
    with pytest.raises(DeviceError) as caught:
        opened.put(digest, len(data), [data[1000:]], 1000)
    assert caught.value.code == "digest-mismatch"
    assert not kept.exists()
    with pytest.raises(DeviceError) as caught:
        opened.put(digest, len(data), [data[1000:]], 1000)
    assert caught.value.found == 0
    put(opened, data, look)


def test_a_failed_fsync_throws_the_file_away(
    opened: Store, look: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(opened, b"one", look)
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_size == 3:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DeviceError) as caught:
        opened.commit()
    assert (caught.value.code, caught.value.found) == ("store-io", "EIO")
    monkeypatch.undo()
    assert opened.commit() == 0
    assert opened.missing([(look.sha(b"one"), 3)])[0]
    assert not list((tmp_path / "store" / "tmp").rglob("[0-9a-f]" * 64))


def test_a_full_disk_is_told_before_and_during(
    opened: Store, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError) as caught:
        opened.put(look.sha(b""), 1 << 49, iter(()))
    assert caught.value.code == "disk-space"
    assert isinstance(caught.value.found, int)

    def write(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(DeviceError) as caught:
        put(opened, b"late", look)
    assert (caught.value.code, caught.value.found) == ("disk-space", "ENOSPC")


def test_no_inodes_left(opened: Store, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 1 << 30, 4096, 1000, 0

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(DeviceError, match="inode"):
        put(opened, b"x", look)


def test_sessions_that_were_killed_are_cleared_and_living_ones_are_not(tmp_path: Path, look: Any) -> None:
    living = Store(str(tmp_path))
    put(living, b"alive", look)
    left = tmp_path / "store" / "tmp" / "left"
    left.mkdir()
    (left / "file").write_bytes(b"x")
    Store(str(tmp_path)).hold()
    assert not left.exists()
    assert living.commit() == 1


def test_a_session_that_ends_meanwhile_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.list_folder

    def list_folder(path: str) -> list[str]:
        return [*real(path), "just-gone"] if Path(path).name == "tmp" else real(path)

    monkeypatch.setattr(files, "list_folder", list_folder)
    opened = Store(str(tmp_path))
    opened.hold()
    with opened.exclusive():
        opened.sweep(set())


def test_a_session_that_is_just_beginning_is_not_taken_for_one_that_was_left(
    tmp_path: Path, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(str(tmp_path)).hold()
    real, others = os.mkdir, []

    def mkdir(path: str, mode: int = 0o777) -> None:
        real(path, mode)
        if Path(path).parent.name == "tmp" and not others:
            others.append(threading.Thread(target=Store(str(tmp_path)).hold))
            others[0].start()
            others[0].join(0.5)

    monkeypatch.setattr(os, "mkdir", mkdir)
    opened = Store(str(tmp_path))
    digest = put(opened, b"mine", look)
    others[0].join()
    opened.commit()
    assert Path(opened.object_path(digest)).read_bytes() == b"mine"


def test_a_store_that_could_not_be_opened_is_opened_by_the_next_try(
    tmp_path: Path, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Store(str(tmp_path))

    def fails(path: str) -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(files, "list_folder", fails)
        with pytest.raises(DeviceError, match="opening the store"):
            opened.hold()
    opened.release()
    put(opened, b"then", look)
    assert opened.commit() == 1


def test_a_file_that_another_session_has_just_finished_is_left_to_it(
    opened: Store, look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(store.RESUMABLE)
    opened.hold()
    kept, theirs = tmp_path / "store" / "partial" / look.sha(data), tmp_path / "theirs"
    real = fcntl.flock

    def flock(fd: int, how: int) -> None:
        if how == fcntl.LOCK_EX | fcntl.LOCK_NB and not theirs.exists():
            kept.write_bytes(data)
            kept.rename(theirs)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    put(opened, data, look)
    assert theirs.read_bytes() == data
    opened.commit()
    assert Path(opened.object_path(look.sha(data))).read_bytes() == data


def test_a_file_that_another_session_is_sending_is_locked(opened: Store, look: Any, tmp_path: Path) -> None:
    opened.hold()
    kept = tmp_path / "store" / "partial" / look.sha(b"x" * store.RESUMABLE)
    with kept.open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(DeviceError) as caught:
            put(opened, b"x" * store.RESUMABLE, look)
    assert (caught.value.code, caught.value.found) == ("locked", kept.name)


def test_sweep_removes_what_nothing_refers_to(tmp_path: Path, look: Any) -> None:
    opened = Store(str(tmp_path))
    kept, linked, gone = (put(opened, data, look) for data in (b"kept", b"linked", b"gone!"))
    opened.commit()
    opened.link(linked, str(tmp_path / "a link"))
    with opened.exclusive() as alone:
        assert alone
        assert opened.sweep({kept}) == {"files": 1, "bytes": 5}
    assert opened.missing([(kept, 4), (linked, 6), (gone, 5)])[0] == [gone]


def test_nothing_is_swept_while_another_session_is_at_work(tmp_path: Path, look: Any) -> None:
    other = Store(str(tmp_path))
    put(other, b"not yet used", look)
    with Store(str(tmp_path)).exclusive() as alone:
        assert not alone


def test_links_where_there_are_and_copies_where_not(
    opened: Store, look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(opened, b"data", look)
    opened.commit()
    assert not opened.link(digest, str(tmp_path / "linked"))
    assert opened.link(digest, str(tmp_path / "program"), executable=True)
    assert (tmp_path / "program").stat().st_mode & 0o777 == 0o500

    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(os, "link", no_links)
    assert opened.link(digest, str(tmp_path / "copied"))
    assert (tmp_path / "linked").stat().st_nlink == 2
    for name in ("linked", "program", "copied"):
        assert (tmp_path / name).read_bytes() == b"data"


def test_a_store_that_is_a_symlink_is_not_followed(tmp_path: Path, look: Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "store").symlink_to(elsewhere)
    with pytest.raises(DeviceError) as caught:
        put(Store(str(tmp_path / "root")), b"x", look)
    assert caught.value.code == "store-io"
    assert not list(elsewhere.iterdir())


# --- trees


def listing_of(contents: dict[str, bytes], look: Any) -> list[list[Any]]:
    return sorted(
        [path, look.sha(data), len(data), path.startswith("bin/")] for path, data in contents.items()
    )


def built(tmp_path: Path, look: Any, contents: dict[str, bytes]) -> tuple[trees.Trees, str, list[list[Any]]]:
    opened = Store(str(tmp_path))
    for data in contents.values():
        put(opened, data, look)
    listing = listing_of(contents, look)
    return trees.Trees(str(tmp_path), opened), trees.tree_id(listing), listing


CONTENTS = {"pkg/__init__.py": b"", "pkg/deep/lib.so": b"\x7fELF", "bin/tool": b"#!", "pkg/same": b"\x7fELF"}


def test_a_tree_is_put_together_once(tmp_path: Path, look: Any) -> None:
    found, identity, listing = built(tmp_path, look, CONTENTS)
    events: list[tuple[int, int]] = []
    assert not found.has(identity)
    assert found.build(identity, listing, lambda done, total: events.append((done, total)))
    assert events[-1] == (10, 10)
    assert found.has(identity)
    assert not found.build(identity, list(reversed(listing)), lambda done, total: None)
    folder = Path(found.folder(identity))
    assert {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    } == CONTENTS
    assert os.access(folder / "bin" / "tool", os.X_OK)
    assert found.referenced() == {row[1] for row in listing}


def test_a_tree_without_its_marker_or_with_damage_is_built_again(tmp_path: Path, look: Any) -> None:
    found, identity, listing = built(tmp_path, look, CONTENTS)
    found.build(identity, listing, lambda done, total: None)
    for damage in (Path(found.folder(identity) + ".json"), Path(found.folder(identity)) / "pkg" / "same"):
        damage.unlink()
        assert not found.has(identity)
        assert found.build(identity, listing, lambda done, total: None)
        assert found.has(identity)


def test_a_damaged_object_is_found_dropped_and_asked_for_again(tmp_path: Path, look: Any) -> None:
    found, identity, listing = built(tmp_path, look, CONTENTS)
    found._store.commit()
    damaged = Path(found._store.object_path(look.sha(b"\x7fELF")))
    damaged.chmod(0o600)
    damaged.write_bytes(b"\x7fELG")
    with pytest.raises(DeviceError) as caught:
        found.build(identity, listing, lambda done, total: None)
    assert caught.value.code == "digest-mismatch"
    assert not list((tmp_path / "runtimes").glob("tmp-*"))
    assert found._store.missing([(row[1], row[2]) for row in listing])[0] == [look.sha(b"\x7fELF")]
    put(found._store, b"\x7fELF", look)
    assert found.build(identity, listing, lambda done, total: None)


def test_what_no_tree_can_be(tmp_path: Path, look: Any) -> None:
    found, _, listing = built(tmp_path, look, CONTENTS)
    with pytest.raises(DeviceError, match="listing"):
        found.build("0" * 64, listing, lambda done, total: None)
    for clash in ([*listing, listing[0]], [*listing, ["bin/tool/x", "0" * 64, 0, False]]):
        with pytest.raises(DeviceError, match="in each other's way"):
            found.build(trees.tree_id(clash), clash, lambda done, total: None)
    lacking = [["other", look.sha(b"never put"), 9, False]]
    with pytest.raises(DeviceError) as caught:
        found.build(trees.tree_id(lacking), lacking, lambda done, total: None)
    assert caught.value.code == "missing-content"


def test_a_prepared_tree_stays_until_another_is_prepared(tmp_path: Path, look: Any) -> None:
    found, identity, listing = built(tmp_path, look, CONTENTS)
    with pytest.raises(DeviceError) as caught:
        found.prepare("litert", identity)
    assert caught.value.code == "missing-content"
    found.build(identity, listing, lambda done, total: None)
    found.prepare("litert", identity)
    assert found.collect(set()) == {"trees": 0}
    other = listing[:1]
    found.build(trees.tree_id(other), other, lambda done, total: None)
    found.prepare("litert", trees.tree_id(other))
    assert found.prepared() == {"litert": trees.tree_id(other)}
    assert found.collect(set()) == {"trees": 1}
    assert not found.has(identity)

    # What somebody else wrote there keeps nothing, and is in nobody's way.
    (tmp_path / "prepared.json").write_text('{"litert": "../.."}')
    assert found.prepared() == {}
    assert found.collect(set()) == {"trees": 1}


def test_trees_that_nothing_uses_go(tmp_path: Path, look: Any) -> None:
    found, identity, listing = built(tmp_path, look, CONTENTS)
    found.build(identity, listing, lambda done, total: None)
    (tmp_path / "runtimes" / "tmp-left").mkdir()
    assert found.collect({identity}) == {"trees": 0}
    assert found.has(identity)
    assert found.collect(set()) == {"trees": 1}
    assert not list((tmp_path / "runtimes").iterdir())


@pytest.mark.parametrize(
    ("paths", "conflict"),
    [
        (["a", "b/c", "b/d"], None),
        (["a", "a"], "a"),
        (["a/b", "a"], "a/b"),
        (["a", "a.b", "a/c"], "a/c"),
        ([], None),
    ],
)
def test_conflicting_paths(paths: list[str], conflict: str | None) -> None:
    assert trees.conflicting_path(paths) == conflict


def test_write_durably_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    files.write_durably(str(path), b"old")

    def fsync(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input"):
        files.write_durably(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
