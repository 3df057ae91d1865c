"""The inventory on disk: a device added and removed leaves the rest of the file as it was; secrets never."""

from __future__ import annotations

import json
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgefreeze import devices, inventory, sightings
from edgefreeze.cli import main
from edgefreeze.errors import Failure
from edgefreeze.report import boot
from edgefreeze.transport import mdns, ssh_aliases

TOML = """\
# mine
model = "m"   # the model

[devices.cam1]
target = "pi4"
host = "pi@192.0.2.1"

[devices.cam1.bench]
threads = 2

# the second
[devices."cam.2"]
target = "x86"
transport = "local"

[service]
restart = ["true"]
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("EDGEFREEZE_SSH_CONFIG", raising=False)
    return work


def test_a_device_is_added_and_the_rest_stays_as_it_is_written() -> None:
    after = devices.with_device(TOML, "cam3", "pi@cam3:2222", "pi4", "edgefreeze.toml")
    assert after.startswith(TOML)
    assert tomllib.loads(after)["devices"]["cam3"] == {"target": "pi4", "host": "pi@cam3:2222"}
    dotted = devices.with_device(TOML, "cam.4", "cam4", "pi4", "edgefreeze.toml")
    assert set(tomllib.loads(dotted)["devices"]) == {"cam1", "cam.2", "cam.4"}


def test_a_device_is_removed_with_its_own_tables_only() -> None:
    after = devices.without_device(TOML, "cam1", "edgefreeze.toml")
    assert tomllib.loads(after) == {
        "model": "m",
        "devices": {"cam.2": {"target": "x86", "transport": "local"}},
        "service": {"restart": ["true"]},
    }
    assert after.startswith('# mine\nmodel = "m"   # the model\n')
    assert "cam.2" not in tomllib.loads(devices.without_device(TOML, "cam.2", "f"))["devices"]


@pytest.mark.parametrize(
    ("name", "host", "code"),
    [
        ("cam1", "pi@x", "config-exists"),
        ("a/b", "pi@x", "name-invalid"),
        ("cam3", "pi:secret@x", "config-value"),
        ("cam3", "-oProxyCommand=x", "config-value"),
        ("cam3", "a b", "config-value"),
    ],
)
def test_what_cannot_be_a_device_is_refused_without_repeating_a_secret(
    name: str, host: str, code: str
) -> None:
    with pytest.raises(Failure) as caught:
        devices.with_device(TOML, name, host, "pi4", "edgefreeze.toml")
    assert caught.value.code == code
    assert "secret" not in str(caught.value.as_json())


def test_a_password_in_the_file_is_refused_when_it_is_read(elsewhere: Path) -> None:
    for line in ('host = "pi:secret@cam1"', 'password = "secret"'):
        (elsewhere / "edgefreeze.toml").write_text(f'[devices.cam1]\ntarget = "pi4"\n{line}\n')
        with pytest.raises(Failure) as caught:
            inventory.load()
        assert caught.value.code in ("config-value", "config-key")
        assert "secret" not in str(caught.value.as_json())


def test_one_that_is_not_there_and_one_that_is_written_otherwise() -> None:
    with pytest.raises(Failure) as caught:
        devices.without_device(TOML, "cam11", "edgefreeze.toml")
    assert "did you mean 'cam1'" in caught.value.message
    inline = 'devices = { cam1 = { target = "pi4" } }\n'
    with pytest.raises(Failure) as caught:
        devices.without_device(inline, "cam1", "edgefreeze.toml")
    assert caught.value.code == "config-value"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main.run(list(arguments))
    return status, capsys.readouterr().out


@pytest.mark.process
def test_a_device_is_asked_with_the_interpreter_that_its_target_names(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "boards").mkdir()
    (elsewhere / "boards" / "odd.toml").write_text(
        'extends = "x86"\nsummary = "odd"\npython = "/usr/bin/no-such-python"\n'
    )
    (elsewhere / "edgefreeze.toml").write_text(
        'targets = "boards"\n'
        f'[devices.odd]\ntarget = "odd"\ntransport = "local"\nroot = "{elsewhere}/root"\n'
        f'[devices.gone]\ntarget = "nobody-knows"\ntransport = "local"\nroot = "{elsewhere}/root"\n'
    )
    status, out = run(capsys, "devices", "--json")
    states = {row["name"]: row["state"] for row in json.loads(out)["devices"]}
    assert (status, states) == (0, {"odd": "no-python", "gone": "target-unknown"})


def test_a_file_that_cannot_be_written_is_no_defect(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "edgefreeze.toml.part").mkdir()
    assert main.run(["devices", "add", "cam1", "pi@192.0.2.1", "--target", "pi4"]) == 1
    said = capsys.readouterr().err
    assert "edgefreeze.toml.part: Is a directory  [host-io]" in said
    assert "defect" not in said


@pytest.mark.process
def test_the_commands(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "devices")[1].startswith("no devices yet")
    assert run(capsys, "devices", "add", "box", "127.0.0.1:1", "--target", "x86")[0] == 0
    assert run(capsys, "devices", "add", "cam1", "pi@192.0.2.1", "--target", "pi5x")[0] == 3
    (elsewhere / "edgefreeze.toml").write_text(
        (elsewhere / "edgefreeze.toml").read_text()
        + f'\n[devices.here]\ntarget = "x86"\ntransport = "local"\nroot = "{elsewhere}/root"\n'
    )
    status, out = run(capsys, "devices", "--json", "--offline")
    rows = {row["name"]: row for row in json.loads(out)["devices"]}
    assert (status, rows["box"]["state"], rows["box"]["last_seen"]) == (0, "not asked", None)
    status, out = run(capsys, "devices", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)["devices"]}
    assert rows["box"]["state"] == "unreachable"
    assert rows["here"]["state"] == "reachable"
    assert rows["here"]["last_seen"].endswith("Z")
    assert rows["here"]["apps"] == {}
    assert "reachable" in run(capsys, "devices")[1]
    assert run(capsys, "devices", "remove", "box")[0] == 0
    assert [
        row["name"] for row in json.loads(run(capsys, "devices", "--json", "--offline")[1])["devices"]
    ] == ["here"]


def test_sightings_survive_a_broken_file_and_a_missing_folder(tmp_path: Path) -> None:
    assert sightings.read() == {}
    sightings.saw("cam1", {"demo": "a" * 64})
    sightings.saw("cam1")
    assert sightings.read()["cam1"].apps == {"demo": "a" * 64}
    sightings.forget("cam1")
    assert sightings.read() == {}
    file = tmp_path / "state" / "edgefreeze" / "devices.json"
    file.write_text("{")
    assert sightings.read() == {}
    sightings.saw("cam2")
    assert set(sightings.read()) == {"cam2"}


def test_many_are_seen_at_once() -> None:
    names = [f"cam{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sightings.saw, names))
    assert set(sightings.read()) == set(names)


# --- ~/.ssh/config


def test_aliases_with_includes_and_without_patterns(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".ssh"
    (home / "more.d").mkdir(parents=True)
    (home / "config").write_text(
        "# boards\nInclude more.d/*.conf\nHost cam1 cam2 !cam3 *.lan\n  HostName 192.0.2.1\n"
        'host = "with space"\nHost *\n  User pi\nHost cam1\nHost "broken\n'
    )
    (home / "more.d" / "a.conf").write_text("Host=shed\nInclude more.d/a.conf\n")
    assert ssh_aliases.aliases() == ("shed", "cam1", "cam2", "with space")


@pytest.mark.process
def test_discover_says_which_are_devices_and_how_others_become_ones(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        "Host cam1\n  HostName 192.0.2.1\n  User pi\nHost shed\n  HostName 192.0.2.2\n  ProxyJump cam1\n"
    )
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", str(config))
    (elsewhere / "edgefreeze.toml").write_text('[devices.porch]\ntarget = "pi4"\nhost = "cam1"\n')
    status, out = run(capsys, "devices", "discover", "--json")
    assert status == 0
    first, second = json.loads(out)["hosts"]
    assert first == {
        "alias": "cam1",
        "address": "pi@192.0.2.1 port 22",
        "jump": False,
        "device": "porch",
        "add": None,
    }
    assert (second["jump"], second["add"]) == (True, "edgefreeze devices add shed shed --target TARGET")
    assert "192.0.2.2" in run(capsys, "devices", "discover")[1]


def test_what_is_heard_on_the_network_can_become_a_device(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = mdns.Found(name="my porch", host="porch.local", port=2222, address="192.0.2.17")
    monkeypatch.setattr(mdns, "browse", lambda: (heard,))
    (row,) = json.loads(run(capsys, "devices", "discover", "--network", "--json")[1])["hosts"]
    assert row["add"] == "edgefreeze devices add my-porch porch.local:2222 --target TARGET"
    (elsewhere / "edgefreeze.toml").write_text('[devices.p]\ntarget = "pi4"\nhost = "porch.local:2222"\n')
    (row,) = json.loads(run(capsys, "devices", "discover", "--network", "--json")[1])["hosts"]
    assert (row["device"], row["add"]) == ("p", None)


# --- purge


@pytest.mark.process
def test_purge_asks_or_is_told_not_to(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = elsewhere / "root"
    (elsewhere / "edgefreeze.toml").write_text(
        f'[devices.here]\ntarget = "x86"\ntransport = "local"\nroot = "{root}"\n'
    )
    status, out = run(capsys, "device", "purge", "--host", "here", "--json")
    assert (status, json.loads(out)["error"]["next"]) == (2, "the same with --yes")
    assert (root / "helper").is_dir()
    status, out = run(capsys, "device", "purge", "--host", "here", "--yes", "--json")
    found = json.loads(out)
    assert (status, found["root"], found["foreign"]) == (0, str(root), [])
    assert found["files"] >= 1
    assert not root.exists()


# --- at boot


@pytest.mark.process
def test_a_device_recovers_at_boot_and_status_says_so(
    elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (elsewhere / "edgefreeze.toml").write_text(
        '[devices.here]\ntarget = "x86"\ntransport = "local"\nroot = "~/.edgefreeze"\n'
    )
    status, out = run(capsys, "device", "recover-at-boot", "--host", "here", "--json")
    found = json.loads(out)
    unit = home / ".config/systemd/user/edgefreeze-recover.service"
    assert (status, found["changed"], found["boot"]["unit"]) == (0, True, str(unit))
    assert unit.is_file()
    assert json.loads(run(capsys, "status", "--host", "here", "--json")[1])["boot"] == found["boot"]
    status, out = run(capsys, "status", "--host", "here")
    assert "at boot it goes back" in " ".join(out.split())
    status, out = run(capsys, "device", "recover-at-boot", "--host", "here", "--remove")
    assert (status, out) == (0, "here: the unit is gone\n")
    assert not unit.exists()
    assert (
        run(capsys, "device", "recover-at-boot", "--host", "here", "--remove")[1]
        == "here: there was no unit\n"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ()),
        ({"booted": False}, ("not booted with systemd",)),
        ({"enabled": False}, ("not enabled",)),
        ({"lacks": ["/usr/bin/python3.9"]}, ("/usr/bin/python3.9", "recover-at-boot")),
        ({"lingers": False}, ("sudo loginctl enable-linger pi", "first login")),
    ],
)
def test_what_keeps_the_unit_from_running_is_said(change: dict[str, object], words: tuple[str, ...]) -> None:
    fine = {"unit": "/u", "enabled": True, "lacks": [], "booted": True, "user": "pi", "lingers": True}
    found = boot.troubles({**fine, **change})
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)
