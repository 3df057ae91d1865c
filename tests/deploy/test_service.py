"""The application's service, as edgefreeze.toml says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def deploy(run: Run, model: Path) -> Result:
    return run("deploy", model, "--app", "demo", "--format", "tflite", "--no-bench", "--json")


def config(restart: list[str], **more: object) -> None:
    rows = {"restart": restart, "restart_timeout_s": 5, **more}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
    Path("edgefreeze.toml").write_text("[service]\n" + text)


def test_a_service_that_is_not_well_sends_the_device_back(
    small: Path, device: Path, prebuilt: None, edgefreeze_: Run, releases: dict[str, Any], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    hook = ["/bin/sh", "-c", 'echo "$EDGEFREEZE_RELEASE" >>"$0"', str(told)]
    a, b = (releases[name].release.id for name in ("small_a", "small_b"))
    config(hook)
    assert deploy(edgefreeze_, small / "small_a").json["active"] == a

    config(hook, health=["/bin/false"], deadline_s=0.5)
    failed = deploy(edgefreeze_, small / "small_b")
    assert failed.status == 5
    document = failed.json
    assert (document["ok"], document["rolled_back"], document["release"]) == (False, True, b)
    error = document["error"]
    assert error["code"] == "health-failed"
    assert error["device_state"] == f"release {a[:12]} is active there"
    assert told.read_text().split() == [a, b, a]

    config(["/bin/sh", "-c", 'test "$EDGEFREEZE_RELEASE" = none'])
    failed = deploy(edgefreeze_, small / "small_b")
    assert (failed.status, failed.json["error"]["code"]) == (5, "hook-failed")
    assert (device / "apps" / "demo" / "current").resolve().name == a

    config(hook, health=["/bin/true"], successes=2, period_s=0.05)
    assert deploy(edgefreeze_, small / "small_b").json["active"] == b
    assert edgefreeze_("rollback", "--app", "demo", "--json").json["release"] == a
    assert told.read_text().split()[-1] == a


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('restart = "systemctl restart x"', "'restart'"),
        ('health_url = "ftp://x"', "health_url"),
        ("succeses = 3", "successes"),
        ("deadline_s = 0", "deadline_s"),
    ],
)
def test_a_service_that_cannot_be(device: Path, edgefreeze_: Run, text: str, found: str) -> None:
    Path("edgefreeze.toml").write_text(f"[service]\n{text}\n")
    result = edgefreeze_("deploy", "model", "--json")
    assert result.status == 3
    assert result.json["error"]["code"] in ("config-value", "config-key")
    assert found in json.dumps(result.json["error"])
