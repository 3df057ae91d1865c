"""Which device a command goes to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgefreeze import inventory, project, targets
from edgefreeze.errors import Failure

TOML = """
model = "m"
app = "digits"
[devices.cam1]
target = "pi4"
host = "pi@192.0.2.1:2222"
python = "~/venv/bin/python"
[devices.cam2]
target = "pi4"
[devices.box]
target = "x86"
"""


@pytest.fixture
def config(tmp_path: Path) -> inventory.Config:
    (tmp_path / "edgefreeze.toml").write_text(TOML)
    return inventory.load(tmp_path)


def test_without_a_file_everything_is_default(tmp_path: Path) -> None:
    assert inventory.load(tmp_path).devices == {}


def test_the_one_device_of_a_target_is_taken(config: inventory.Config) -> None:
    device = inventory.choose(config, "x86", "local", None)
    assert (device.name, device.host, device.transport) == ("box", "box", "ssh")


def test_several_devices_of_a_target_are_listed(config: inventory.Config) -> None:
    with pytest.raises(Failure) as caught:
        inventory.choose(config, "pi4", "ssh", None)
    assert caught.value.code == "device-ambiguous"
    assert "cam1, cam2" in caught.value.message


def test_host_is_a_device_of_the_inventory_first(config: inventory.Config) -> None:
    device = inventory.choose(config, "pi4", "ssh", "cam1")
    assert (device.host, device.python) == ("pi@192.0.2.1:2222", "~/venv/bin/python")


def test_host_is_an_ssh_destination_otherwise(config: inventory.Config) -> None:
    device = inventory.choose(config, "pi4", "ssh", "pi@elsewhere")
    assert (device.name, device.host) == ("pi@elsewhere", "pi@elsewhere")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "", "a\nb"])
def test_what_is_no_destination_is_refused(config: inventory.Config, host: str) -> None:
    with pytest.raises(Failure) as caught:
        inventory.choose(config, "pi4", "ssh", host)
    assert caught.value.code == "device-unknown"


def test_no_device_at_all(tmp_path: Path) -> None:
    empty = inventory.load(tmp_path)
    assert inventory.choose(empty, "x86", "local", None).transport == "local"
    with pytest.raises(Failure, match="no device of the target 'pi4' is known"):
        inventory.choose(empty, "pi4", "ssh", None)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('app = "../x"', "name-invalid"),
        ('[devices."a b"]\ntarget = "x86"', "name-invalid"),
        ('[devices.a]\ntarget = "x86"\ntransport = "carrier-pigeon"', "config-value"),
        ('[devices.a]\ntarget = "x86"\npython = "python3 -c x"', "config-value"),
        ('[devices.a]\ntarget = "x86"\npassword = "secret"', "config-key"),
    ],
)
def test_bad_entries_are_refused(tmp_path: Path, line: str, code: str) -> None:
    (tmp_path / "edgefreeze.toml").write_text(line + "\n")
    with pytest.raises(Failure) as caught:
        inventory.load(tmp_path)
    assert caught.value.code == code


def test_the_local_device_is_never_somebodys_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert inventory.local_root() == tmp_path / "edgefreeze" / "local-device"


def test_a_devices_own_service_comes_before_the_files_and_the_targets(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text('extends = "x86"\n[service]\nrestart = ["target"]\n')
    (tmp_path / "edgefreeze.toml").write_text(
        '[service]\nrestart = ["file"]\n[devices.own]\ntarget = "board"\n[devices.own.service]\n'
        'restart = ["device"]\n[devices.plain]\ntarget = "board"\n[devices.plain.bench]\nthreads = 3\n'
    )
    config = inventory.load(tmp_path)

    def where(host: str, config: inventory.Config) -> project.Where:
        return project.where(config, None, host, tmp_path)

    def restart(host: str, config: inventory.Config) -> tuple[str, ...]:
        service = where(host, config).service
        assert service is not None
        return service.restart

    assert restart("own", config) == ("device",)
    assert restart("plain", config) == ("file",)
    without = msgspec.structs.replace(config, service=None)
    assert restart("plain", without) == ("target",)
    assert (where("plain", config).target.bench.threads, where("own", config).target.bench.threads) == (3, 1)


def test_a_target_and_a_device_may_be_given_as_objects(config: inventory.Config) -> None:
    device = inventory.Device(
        name="cam2", target="pi4", transport="local", host=None, python=None, root="there"
    )
    found = project.where(config, None, device)
    assert (found.target.name, found.device.root) == ("pi4", "there")
    assert project.where(config, targets.load("pi4"), "cam1").target.name == "pi4"
    assert project.target(config, targets.load("pi5"), None).name == "pi5"
    with pytest.raises(Failure) as caught:
        project.where(config, targets.load("pi5"), device)
    assert (caught.value.code, caught.value.expected, caught.value.found) == ("device-mismatch", "pi4", "pi5")
    assert caught.value.message == "the target of device 'cam2' is pi4, not pi5"
    with pytest.raises(Failure, match=r"the target of device 'cam1' is pi4 in edgefreeze.toml, not pi5"):
        project.where(config, "pi5", "cam1")


def test_the_lock_is_looked_for_beside_the_file_that_there_is(tmp_path: Path) -> None:
    assert project.sources(inventory.load(tmp_path)).lock is None
    (tmp_path / "edgefreeze.toml").write_text("")
    lock = project.sources(inventory.load(tmp_path)).lock
    assert lock is not None
    assert lock.parent == tmp_path
