"""edgefreeze doctor on this machine: what is deployed there is tested, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def levels(result: Result) -> dict[str, str]:
    return {check["name"]: check["level"] for check in result.json["checks"]}


def test_this_machine_and_a_release_on_it(
    small: Path, device: Path, edgefreeze_: Run, prebuilt: None
) -> None:
    Path("boards").mkdir()
    Path("boards/box.toml").write_text('extends = "x86"\n[[formats]]\nformat = "tflite"\n')
    where = ("--target", "box", "--targets", "boards")
    deployed = edgefreeze_("deploy", small / "small_a", "--app", "demo", "--no-bench", *where)
    assert deployed.status == 0, deployed.err
    well = edgefreeze_("doctor", *where, "--json")
    assert well.status == 0, well.out
    assert (well.json["command"], well.json["ok"]) == ("doctor", True)
    assert (well.json["device"], well.json["target"]) == ("local", "box")
    for check in well.json["checks"]:
        assert set(check) == {"name", "level", "found", "fix"}
    found = levels(well)
    assert {"ssh", "architecture", "python", "ram", "disk", "mount", "clock", "load"} <= set(found)
    assert found["runtime-litert"] == found["app-demo"] == "fine"
    assert "runtime-tensorflow" not in found

    # The file is damaged on the device.
    model = (device / "apps" / "demo" / "current" / "model.tflite").resolve()
    model.chmod(0o600)
    data = bytearray(model.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 256] = bytes(256)
    model.write_bytes(bytes(data))
    ill = edgefreeze_("doctor", *where, "--json")
    assert (ill.status, ill.json["ok"]) == (1, False), ill.out
    assert levels(ill)["app-demo"] == "failure"
    assert ill.json["error"]["code"] == "doctor-failed"
    assert "app-demo" in ill.json["error"]["message"]


def test_the_wrong_target_is_a_failure_with_the_right_one_in_it(device: Path, edgefreeze_: Run) -> None:
    Path("edgefreeze.toml").write_text('[devices.box]\ntarget = "pi4"\ntransport = "local"\n')
    result = edgefreeze_("doctor", "--host", "box", "--json")
    assert result.status == 1
    (wrong,) = [c for c in result.json["checks"] if c["level"] == "failure"]
    assert wrong["name"] == "architecture"
    assert "--target x86" in wrong["fix"]
    assert not any(c["name"].startswith("runtime-") for c in result.json["checks"])
    text = edgefreeze_("doctor", "--host", "box")
    assert text.status == 1
    assert "failure  architecture" in text.out
    assert "do: --target x86" in text.out
    assert "[doctor-failed]" in text.err
