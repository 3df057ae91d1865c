"""Readings of a board from captured files; the governor, which is put back whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefreeze.device import governor, sensors
from edgefreeze.device.errors import DeviceError


def write(root: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(root)


def test_a_jetson_like_board_tells_all_that_it_has(tmp_path: Path) -> None:
    found = sensors.environment(
        write(
            tmp_path,
            {
                "proc/stat": "cpu  100 0 50 1000 20 5 5 40 0 0\ncpu0 1 2 3\n",
                "proc/meminfo": "MemTotal: 4000 kB\nMemAvailable: 2000 kB\nSwapTotal: 100 kB\nSwapFree: 40 kB\n",
                "proc/self/cgroup": "0::/user.slice/app.scope\n",
                "sys/fs/cgroup/user.slice/app.scope/cpu.stat": "usage_usec 7\nthrottled_usec 2500000\n",
                "sys/fs/cgroup/user.slice/app.scope/cpu.max": "150000 100000\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
                "sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "600000\n",
                "sys/class/thermal/thermal_zone0/temp": "51000\n",
                "sys/class/thermal/thermal_zone1/temp": "63500\n",
                "sys/class/hwmon/hwmon1/curr1_input": "800\n",
                "sys/class/hwmon/hwmon1/in1_input": "5000\n",
                "sys/class/hwmon/hwmon2/power1_input": "1500000\n",
                "var/lib/nvpmodel/status": "pmode:0002 fmode:fanNull\n",
            },
        )
    )
    tick = os.sysconf("SC_CLK_TCK")
    assert found["busy_s"] == pytest.approx(200 / tick)
    assert (found["governor"], found["cpu_mhz"], found["cpu_mhz_min"]) == ("schedutil", 1500.0, 600.0)
    assert found["temperature_c"] == 63.5
    assert (found["quota_cpus"], found["starved_s"]) == (1.5, 2.5)
    assert found["power_w"] == pytest.approx(4.0 + 1.5)
    assert found["power_mode"] == "pmode:0002 fmode:fanNull"
    assert found["swap_used_bytes"] == 60 * 1024


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    found = sensors.environment(
        write(
            tmp_path,
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.stat": "nr_throttled 3\nthrottled_time 1500000000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        )
    )
    assert (found["quota_cpus"], found["starved_s"]) == (0.5, 1.5)


def test_a_board_that_tells_nothing(tmp_path: Path) -> None:
    found = sensors.environment(str(tmp_path))
    for name in (
        "busy_s",
        "cpu_mhz_min",
        "quota_cpus",
        "starved_s",
        "power_w",
        "power_mode",
        "temperature_c",
    ):
        assert found[name] is None, name
    assert sensors.cpu_time(2**22) == 0.0


def test_this_machine_and_this_process() -> None:
    before, own = sensors.environment(), sensors.cpu_time(os.getpid())
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    after = sensors.environment()
    assert after["busy_s"] - before["busy_s"] >= 0.2
    assert sensors.cpu_time(os.getpid()) - own == pytest.approx(0.3, abs=0.1)


@pytest.mark.process
def test_what_children_used_counts_once_they_were_waited_for() -> None:
    own = sensors.cpu_time(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-S", "-c", burn], check=True)
    assert sensors.cpu_time(os.getpid()) - own >= 0.35


def hwmon(number: int, **files: object) -> dict[str, str]:
    return {f"sys/class/hwmon/hwmon{number}/{name}": f"{value}\n" for name, value in files.items()}


def test_a_sensor_that_tells_power_is_not_counted_by_its_current_too(tmp_path: Path) -> None:
    ina219 = hwmon(0, power1_input=2_000_000, curr1_input=400, in1_input=5000)
    assert sensors.environment(write(tmp_path, ina219))["power_w"] == pytest.approx(2.0)


def test_where_the_boards_input_is_measured_its_parts_do_not_count(tmp_path: Path) -> None:
    rails = {
        f"{kind}{n}_{what}": value
        for n, name, amps in ((1, "VDD_IN", 1200), (2, "VDD_CPU_GPU_CV", 500), (3, "VDD_SOC", 300))
        for kind, what, value in (("curr", "input", amps), ("in", "input", 5000), ("in", "label", name))
    }
    shunts = {"curr4_input": 2000, "in4_input": 6, "in5_input": 3, "in6_input": 2}
    board = hwmon(3, **rails, **shunts) | hwmon(1, power1_input=700_000) | hwmon(4, power1_input=1)
    assert sensors.environment(write(tmp_path / "jetson", board))["power_w"] == pytest.approx(6.0)
    del board["sys/class/hwmon/hwmon3/in1_label"]
    assert sensors.environment(write(tmp_path / "other", board))["power_w"] == pytest.approx(10.700001)


# --- the governor


def board(tmp_path: Path) -> tuple[str, list[Path]]:
    files = {f"devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "ondemand\n" for n in range(2)}
    root = write(tmp_path / "sys", files)
    return root, [Path(root) / path for path in files]


def now(files: list[Path]) -> list[str]:
    return [file.read_text().strip() for file in files]


def wait_for(files: list[Path], wanted: str) -> None:
    until = time.monotonic() + 10
    while now(files) != [wanted] * 2:
        assert time.monotonic() < until, now(files)
        time.sleep(0.02)


def test_the_governor_is_set_and_put_back(program: Path, tmp_path: Path) -> None:
    root, files = board(tmp_path)
    held = governor.Governor(str(program), root)
    before = held.set("performance")
    assert set(before.values()) == {"ondemand"}
    assert now(files) == ["performance"] * 2
    held.restore()
    assert now(files) == ["ondemand"] * 2
    held.restore()


def test_it_is_put_back_where_its_process_is_killed(program: Path, tmp_path: Path) -> None:
    root, files = board(tmp_path)
    held = governor.Governor(str(program), root)
    held.set("performance")
    assert held._process is not None
    held._process.kill()
    held.restore()
    assert now(files) == ["ondemand"] * 2


HELPER = """
import sys, time
from edgefreeze.device.governor import Governor
held = Governor(sys.argv[1], sys.argv[2])
held.set("performance")
print("set", flush=True)
time.sleep(60)
"""


def test_it_is_put_back_where_the_helper_is_killed(program: Path, tmp_path: Path) -> None:
    root, files = board(tmp_path)
    helper = subprocess.Popen(
        [sys.executable, "-c", HELPER, str(program), root],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert helper.stdout is not None
    assert helper.stdout.readline() == b"set\n"
    assert now(files) == ["performance"] * 2
    helper.send_signal(signal.SIGKILL)
    helper.wait()
    helper.stdout.close()
    wait_for(files, "ondemand")


def test_a_board_without_one_and_one_that_may_not_be_set(program: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no governor to set"):
        governor.Governor(str(program), str(tmp_path)).set("performance")
    root, files = board(tmp_path)
    files[1].unlink()
    files[1].mkdir()  # what cannot be read is not touched
    held = governor.Governor(str(program), root)
    assert list(held.set("performance").values()) == ["ondemand"]
    held.restore()
    with pytest.raises(DeviceError):
        governor._said(b"nonsense\n")
    assert json.dumps(governor.read(root))
