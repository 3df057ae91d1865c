"""After a purge not one file of ours is left; what is not ours stays."""

from pathlib import Path

from edgefreeze.device import purge

from .conftest import Start, sha


def test_everything_of_ours_goes_and_the_root_with_it(start: Start, root: Path) -> None:
    helper = start()
    helper.ask("open_app", {"app": "demo", "who": "me", "mode": "write"})
    helper.put(b"content", b"more")
    helper.ask("commit")
    (root / "helper").mkdir()
    (root / "helper" / "x.pyz").write_bytes(b"x")
    tree = root / "runtimes" / "t" / "deep"
    tree.mkdir(parents=True)
    (tree / "lib.so").write_bytes(b"so")
    tree.chmod(0o500)
    found = helper.ask("purge", {"who": "me"})
    assert found["apps"] == ["demo"]
    assert found["foreign"] == []
    assert found["files"] >= 4
    assert not root.exists()
    assert helper.close() == 0
    assert not root.exists()  # nor does leaving bring anything back


def test_what_is_not_ours_stays(start: Start, root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("mine")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "kept").write_text("mine")
    (root / "cache").symlink_to("elsewhere")  # a link where a folder of ours would be: the link goes
    helper = start()
    helper.put(b"content")
    found = helper.ask("purge", {"who": "me"})
    assert found["foreign"] == ["elsewhere", "notes.txt"]
    assert sorted(p.name for p in root.iterdir()) == ["elsewhere", "notes.txt"]
    assert (root / "elsewhere" / "kept").read_text() == "mine"


def test_not_while_another_session_is_at_work(start: Start, root: Path) -> None:
    other, helper = start(), start()
    other.ask("open_app", {"app": "demo", "who": "somebody", "mode": "write"})
    error = helper.refuse("purge", {"who": "me"})
    assert error["code"] == "locked"
    assert "somebody" in error["message"]
    other.close()
    third = start()
    third.ask("missing", {"digests": [[sha(b"x"), 1]]})  # relies on what the store has
    again = start()
    assert again.refuse("purge", {"who": "me"})["code"] == "locked"
    assert (root / "store").is_dir()
    third.close()
    again.close()
    assert start().ask("purge", {"who": "me"})["apps"] == ["demo"]
    assert not root.exists()


def test_a_device_on_which_there_is_nothing(start: Start, root: Path) -> None:
    assert start().ask("purge", {"who": "me"}) == {"apps": [], "files": 0, "bytes": 0, "foreign": []}
    assert not root.exists()


def test_the_list_of_what_is_ours_is_what_the_modules_make() -> None:
    folder = Path(purge.__file__).parent
    made = set()
    for file in folder.glob("*.py"):
        for line in file.read_text().splitlines():
            if 'os.path.join(root, "' in line:
                made.add(line.split('os.path.join(root, "')[1].split('"')[0])
    assert made | {"helper"} == set(purge.OURS)  # the bootstrap makes the helper's
