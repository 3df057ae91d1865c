"""Every parser of the device that reads what another wrote: whatever it is given, it takes it or raises the one
error that it says it raises."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefreeze.device import checks, files, manifest, protocol, service, state, trees, trust
from edgefreeze.device.checks import Invalid
from edgefreeze.device.errors import DeviceError
from tests.device.conftest import Made

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
RELEASE = Made()
PLAN = {
    "restart": ["true"], "restart_timeout_s": 5.0, "health": [], "health_url": None, "successes": 1,
    "period_s": 1.0, "deadline_s": 5.0,
}  # fmt: skip


@st.composite
def changed(draw: Any, good: Any) -> Any:
    """A JSON value of the right shape with something else somewhere in it."""
    value = json.loads(json.dumps(good))
    place: Any = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return value
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(JSON)
        elif isinstance(place, dict):
            del place[key]
            place[draw(st.text(max_size=8))] = draw(JSON)
        else:
            place.insert(key, draw(JSON))
        return value


@st.composite
def torn(draw: Any, good: bytes) -> bytes:
    """Bytes with some cut out, put in or changed."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data[start:end] = draw(st.binary(max_size=8))
    return bytes(data)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def of(good: Any) -> st.SearchStrategy[bytes]:
    """Documents near a good one, and others."""
    return torn(dumped(good)) | changed(good).map(dumped) | JSON.map(dumped) | st.binary(max_size=60)


@fuzz
@given(of(RELEASE.manifest))
@example(RELEASE.text.encode())
def test_a_manifest(data: bytes) -> None:
    try:
        parsed = manifest.parse_manifest(data)
    except DeviceError as error:
        assert error.code == "bad-manifest"
        assert len(json.dumps(error.as_dict())) < 20_000
    else:
        assert all(protocol.is_safe_path(entry["path"]) for entry in parsed["files"])
        assert not {entry["path"].split("/")[0] for entry in parsed["files"]} & set(manifest.RESERVED)


@fuzz
@given(of({**RELEASE.envelope, "runtimes": {"tflite": "0" * 64}}))
def test_an_envelope(data: bytes) -> None:
    try:
        assert manifest.parse_envelope(data, RELEASE.id)["manifest_sha256"] == RELEASE.id
    except DeviceError as error:
        assert error.code == "bad-manifest"


@fuzz
@given(
    changed({"python": "/usr/bin/python3", "runtimes": {"tflite": {"tree": "0" * 64, "paths": ["a"]}}}) | JSON
)
def test_a_binding(value: Any) -> None:
    try:
        manifest.parse_binding(value)
    except DeviceError as error:
        assert error.code == "bad-manifest"


@fuzz
@given(changed([["a/b", "0" * 64, 1, False]]) | JSON)
def test_a_trees_listing(value: Any) -> None:
    try:
        trees.check_listing(value, "listing")
        trees.tree_id(value)
        trees.conflicting_path([row[0] for row in value])
    except Invalid:
        pass


@fuzz
@given(changed(PLAN) | JSON)
def test_a_services_plan(value: Any) -> None:
    try:
        service.check_plan(value, "service")
        assert service.longest_s(value) > 0
    except Invalid:
        pass


@fuzz
@given(
    of(state.committed("0" * 64, None)),
    of({"time": "t", "event": "e", "release": None, "previous": None, "who": "w", "detail": None}),
)
def test_state_and_history_on_the_disk(data: bytes, line: bytes) -> None:
    """What cannot be read is rebuilt or left out; never is anything raised."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state.json").write_bytes(data)
        Path(folder, "history.jsonl").write_bytes(line + b"\n" + line)
        memory = state.Memory(folder)
        assert memory.read()["phase"] in (state.EMPTY, state.TRIAL, state.COMMITTED)
        assert len(memory.history()) <= line.count(b"\n") * 2 + 2 + 2 * len(line)
        memory.log("adopted", None, None, "tester")
        assert memory.history()[-1]["event"] == "adopted"


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpoaWhpaGloaWhpaGloaWhpaGloaWhpaGloaWhpaGlo"


@fuzz
@given(
    of({"schema": 1, "unsigned": "allow"}),
    torn(f'signer namespaces="release@edgefreeze" {KEY} me@desk\n'.encode()) | st.binary(max_size=100),
    of({"cam": 7}),
)
def test_who_is_trusted(policy: bytes, signers: bytes, sequences: bytes) -> None:
    """A file that cannot be read trusts nobody: never is it as if it were not there."""
    with tempfile.TemporaryDirectory() as folder:
        known = trust.Trust(folder)
        Path(folder, "trust").mkdir()
        for name, data in (
            ("policy.json", policy),
            ("allowed_signers", signers),
            ("sequences.json", sequences),
        ):
            Path(folder, "trust", name).write_bytes(data)
        assert known.policy() in (trust.REQUIRE, trust.ALLOW)
        assert (known.policy() == trust.ALLOW) == _allows(policy)
        assert len(known.describe()["signers"]) <= signers.count(b"ssh-ed25519")
        assert known.highest("cam") >= 0


def _allows(policy: bytes) -> bool:
    try:
        value = json.loads(policy)
    except (ValueError, UnicodeDecodeError):
        return False
    return value == {"schema": 1, "unsigned": "allow"} and not isinstance(value["schema"], (bool, float))


@fuzz
@given(of({"a": [1, {"b": None}]}))
def test_json_of_a_file(data: bytes) -> None:
    try:
        files.parse_json(data, checks.anything, "a file")
    except Invalid as error:
        assert len(str(error)) < 500


@pytest.mark.parametrize("depth", [1000, 200_000])
def test_json_that_is_deep(depth: int) -> None:
    with pytest.raises(Invalid):
        files.parse_json(b"[" * depth, checks.anything, "a file")
