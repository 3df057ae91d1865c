"""The lab's boards are what the other tests take them for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab_plugin import LAB, LabDevice, LabDeviceFactory

BOTH = pytest.mark.parametrize("board", ["lab_x86", pytest.param("lab_pi4", marks=pytest.mark.pi)])
pytestmark = pytest.mark.lab


@pytest.fixture
def device(board: str, request: pytest.FixtureRequest) -> LabDevice:
    found: LabDevice = request.getfixturevalue(board)
    return found


@BOTH
def test_the_interpreter_is_the_machine_s(device: LabDevice) -> None:
    facts = json.loads(
        device.python(
            "import json, platform, struct, sys, sysconfig\n"
            "print(json.dumps([sysconfig.get_platform(), struct.calcsize('P') * 8, sys.version_info[:2],"
            " platform.libc_ver(), platform.machine()]))"
        )
    )
    assert facts == [f"linux-{device.machine}", 64, [3, 11], ["glibc", "2.36"], device.machine]
    assert device.machine == {"x86": "x86_64", "pi4": "aarch64"}[device.name]


def test_the_pi_has_a_pi_s_cpuinfo(lab_pi4: LabDevice) -> None:
    cpuinfo = lab_pi4.sh("cat /proc/cpuinfo")
    assert cpuinfo.count("CPU part\t: 0xd08\n") == 4
    assert cpuinfo.count("Features\t: fp asimd evtstrm crc32 cpuid\n") == 4
    assert cpuinfo.endswith("Model\t\t: Raspberry Pi 4 Model B Rev 1.2")
    with pytest.raises(AssertionError, match="Read-only file system"):
        lab_pi4.sh("echo >> /proc/cpuinfo", user="root")


@BOTH
def test_ssh_lets_the_key_in_and_knows_the_host(device: LabDevice) -> None:
    done = device.ssh("id -un; uname -m")
    assert (done.returncode, done.stdout.split()) == (0, ["pi", device.machine]), done.stderr


@BOTH
def test_ssh_refuses_what_it_should(device: LabDevice, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    public = (tmp_path / "other.pub").read_text()
    changed = tmp_path / "known_hosts"
    changed.write_text(f"[{device.host}]:{device.port} {public}")
    refused = "Permission denied (publickey)."
    for options, reason in {
        ("-o", f"UserKnownHostsFile={changed}"): "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ("-o", "UserKnownHostsFile=/dev/null"): "Host key verification failed.",
        ("-o", "PreferredAuthentications=password,keyboard-interactive"): refused,
        ("-l", "root"): refused,
    }.items():
        done = device.ssh("true", *options)
        assert done.returncode == 255, options
        assert reason in done.stderr, options
    # Without the lab's ssh_config, whose key would be tried too.
    argv = ["ssh", "-F", "/dev/null", "-i", other, "-o", f"UserKnownHostsFile={device.known_hosts}"]
    argv += [
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-p",
        str(device.port),
        f"pi@{device.host}",
        "true",
    ]
    stranger = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (stranger.returncode, refused in stranger.stderr) == (255, True)


@BOTH
def test_the_user_is_nobody_special(device: LabDevice) -> None:
    assert device.sh("id -u") == "1000"
    capabilities = device.sh("grep -E '^Cap(Eff|Prm)' /proc/self/status").split()[1::2]
    assert capabilities == ["0" * 16, "0" * 16]
    assert device.sh("command -v sudo; ls /var/run/docker.sock /run/docker.sock", check=False) == ""
    with pytest.raises(AssertionError, match="Permission denied"):
        device.sh("touch /etc/mine")


@BOTH
def test_nothing_but_loopback_reaches_it_and_it_reaches_nothing(device: LabDevice) -> None:
    template = "{{json .HostConfig.PortBindings}}"
    ports = _docker("container", "inspect", "--format", template, device.container)
    assert json.loads(ports) == {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(device.port)}]}
    options = json.loads(_docker("network", "inspect", "--format", "{{json .Options}}", "edgefreeze-lab"))
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert options["com.docker.network.bridge.enable_icc"] == "false"


@BOTH
def test_reset_ends_sessions_and_removes_the_root(device: LabDevice) -> None:
    argv = ["ssh", "-F", device.ssh_config, device.name, "mkdir .edgefreeze; echo up; exec sleep 600"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "up\n"
        assert device.sh("pgrep -u pi -f 'sleep 60[0]'") != ""
        device.reset()
        assert session.wait(timeout=30) == 255
    assert device.sh("pgrep -u pi -f 'sleep 60[0]'; ls -d .edgefreeze", check=False) == ""


def test_a_home_of_limited_size_fills_up(lab_device_factory: LabDeviceFactory) -> None:
    device = lab_device_factory("x86", home_size="8m")
    with pytest.raises(AssertionError, match="No space left on device"):
        device.sh("head -c 16m /dev/zero > big")
    assert device.sh("stat -c %s big") == str(8 << 20)
    assert device.ssh("rm big && echo there is room > small").returncode == 0


def test_a_board_without_python(lab_device_factory: LabDeviceFactory) -> None:
    device = lab_device_factory("x86", without_python=True)
    done = device.ssh("command -v python3 || echo none")
    assert done.stdout == "none\n"


def test_a_board_that_stands_still_and_one_that_loses_power(lab_device_factory: LabDeviceFactory) -> None:
    device = lab_device_factory("x86")
    device.sh("echo kept > note")
    with device.paused():
        done = device.ssh("true", "-o", "ConnectTimeout=1")
        assert (done.returncode, device.status) == (255, "paused")
        assert "timed out" in done.stderr
    device.kill()
    assert device.ssh("true").returncode == 255
    again = subprocess.run(
        [sys.executable, LAB, "start", "x86", "--name", device.name, "--json"],
        capture_output=True,
        check=True,
    )
    assert LabDevice(**json.loads(again.stdout)) == device
    assert device.ssh("cat note").stdout == "kept\n"


def test_a_thrown_away_board_leaves_nothing(lab_device_factory: LabDeviceFactory) -> None:
    device = lab_device_factory("x86")
    subprocess.run([sys.executable, LAB, "down", device.name], capture_output=True, check=True)
    assert device.status == ""
    assert device.name not in Path(device.ssh_config).read_text()
    assert str(device.port) not in Path(device.known_hosts).read_text()


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout
