"""One running board: a container with its own host key, its port on loopback, and no way out."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.images import FOLDER, platform
from labkit.models import MODELS, Model
from labkit.shell import LabError, attempt, last_line, run, say, stage
from labkit.state import Device, State

NETWORK = "edgefreeze-lab"
LABEL = "edgefreeze.lab"
USER = "pi"
READY_S = 90
PORTS = range(20000, 30000)
"""Below the range that the kernel draws from: a board that is down keeps its port."""
# What sshd and `docker exec` as root need; nothing else of docker's default set.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)


@dataclass(frozen=True)
class Variation:
    """How a board differs from its model, for one test."""

    home_size: str | None = None
    """Its home is a file system of this size ("64m"), which can be filled up."""
    without_python: bool = False


def ensure_device(
    state: State, name: str, model_name: str, image: str, variation: Variation
) -> tuple[Device, bool]:
    """Have the board `name` up and answering; return it, and whether anything had to be done."""
    model = MODELS[model_name]
    devices = state.devices()
    container = f"edgefreeze-{name}-{state.id}"
    options = _options(state, model, image, name, variation)
    spec = hashlib.sha256(json.dumps([image, options, str(variation)]).encode()).hexdigest()[:16]
    known = devices.get(name)
    if known and _inspect(container, f'{{{{index .Config.Labels "{LABEL}.spec"}}}}') == spec:
        if container_status(known) == "running" and _answer(known, variation) is None:
            return known, False
        if _revive(known, variation):
            return known, True

    with stage(f"starting {name}"):
        _ensure_network()
        state.make_key(state.key, "edgefreeze-lab")
        state.make_key(state.host_key(name), name)
        device = Device(
            name=name,
            model=model_name,
            host="127.0.0.1",
            port=0,
            user=USER,
            key=str(state.key),
            known_hosts=str(state.known_hosts),
            ssh_config=str(state.ssh_config),
            container=container,
            emulated=model.architecture.emulated,
            machine=model.architecture.machine,
        )
        try:
            device = replace(device, port=_start(state, device, image, options, spec))
            state.write_devices({**devices, name: device})
            if variation.without_python:
                run(
                    ["docker", "exec", container, "sh", "-c", "rm -rf /usr/bin/python3* /usr/lib/python3*"],
                    what=f"removing Python from {name}",
                    cure=f"docker logs {container}",
                )
            _await_ready(device, variation)
        except BaseException:
            remove_device(state, name, container)
            raise
    return device, True


def remove_container(container: str) -> None:
    """Remove a container, running or not; one that is not there is no error."""
    status, _, err = attempt(["docker", "rm", "--force", "--volumes", container], timeout=60)
    if status and "no such container" not in err.lower():
        raise LabError(f"docker rm {container}: {last_line(err)}", "is the docker daemon up? docker ps -a")


def remove_device(state: State, name: str, container: str) -> None:
    """Remove a board, its host key and its record; one that is not there is no error."""
    remove_container(container)
    state.write_devices({key: device for key, device in state.devices().items() if key != name})
    for key in (state.host_key(name), Path(f"{state.host_key(name)}.pub")):
        key.unlink(missing_ok=True)


def containers_of(state: State) -> list[str]:
    """The names of the lab's containers, recorded or not."""
    _, out, _ = attempt(
        ["docker", "ps", "--all", "--filter", f"label={LABEL}={state.id}", "--format", "{{.Names}}"],
        timeout=30,
    )
    return out.split()


def remove_network() -> None:
    """Remove the boards' network, unless another lab's are on it."""
    attempt(["docker", "network", "rm", NETWORK], timeout=30)


def container_status(device: Device) -> str:
    """What docker says of it: "running", "paused", "exited", … or "gone"."""
    return _inspect(device.container, "{{.State.Status}}") or "gone"


def _options(state: State, model: Model, image: str, name: str, variation: Variation) -> list[str]:
    """The options of `docker create` that make this board what it is; all but its name and port."""
    options = [
        *("--init", "--hostname", name, "--label", f"{LABEL}={state.id}"),
        *("--platform", platform(image), "--network", NETWORK, "--dns", "127.0.0.1"),
        *("--memory", "4g", "--pids-limit", "1024"),
        *("--security-opt", "no-new-privileges", "--cap-drop", "ALL"),
        *(word for capability in CAPABILITIES for word in ("--cap-add", capability)),
    ]
    if model.architecture.emulated and model.cpuinfo:
        options += ["--volume", f"{FOLDER / model.cpuinfo}:/proc/cpuinfo:ro"]
    if variation.home_size:
        options += ["--tmpfs", f"/home/{USER}:rw,exec,size={variation.home_size},uid=1000,gid=1000,mode=755"]
    return options


def _start(state: State, device: Device, image: str, options: Sequence[str], spec: str) -> int:
    """Create and start the container; return the port on loopback that its sshd answers at."""
    for last in (False, False, False, False, True):
        remove_container(device.container)
        port = _free_port()
        publish = ["--publish", f"{device.host}:{port}:22", "--label", f"{LABEL}.spec={spec}"]
        run(
            ["docker", "create", "--name", device.container, *options, *publish, image],
            what=f"docker create {device.container}",
            cure="docker info; docker ps -a",
        )
        _copy_keys(state, device)
        status, _, err = attempt(["docker", "start", device.container], timeout=60)
        if status == 0:
            return port
        if last or not ("already allocated" in err or "address already in use" in err):
            raise LabError(
                f"docker start {device.container}: {last_line(err)}", f"docker logs {device.container}"
            )
    raise AssertionError("the loop returns or raises")


def _revive(device: Device, variation: Variation) -> bool:
    """Start a board that stands still (after a reboot, a test that killed it); False where that is no use."""
    with stage(f"starting {device.name} again"):
        attempt(["docker", "unpause", device.container], timeout=30)
        if attempt(["docker", "start", device.container], timeout=60)[0]:
            return False
        try:
            _await_ready(device, variation)
        except LabError as error:
            say(f"{error}: making it anew")
            return False
    return True


def _copy_keys(state: State, device: Device) -> None:
    # Copied files belong to root there, as sshd insists, whoever runs the lab here.
    with tempfile.TemporaryDirectory(dir=state.root) as folder:
        host_key, authorised = Path(folder) / "ssh_host_ed25519_key", Path(folder) / "authorized_keys"
        shutil.copy(state.host_key(device.name), host_key)
        shutil.copy(f"{state.key}.pub", authorised)
        host_key.chmod(0o600)
        authorised.chmod(0o644)
        for file in (host_key, authorised):
            run(
                ["docker", "cp", file, f"{device.container}:/etc/edgefreeze-lab/{file.name}"],
                what="docker cp",
                cure=f"docker logs {device.container}",
            )


def _await_ready(device: Device, variation: Variation) -> None:
    deadline = time.monotonic() + READY_S
    while (answer := _answer(device, variation)) is not None:
        status = container_status(device)
        if status not in ("running", "created"):
            _, out, err = attempt(["docker", "logs", "--tail", "5", device.container], timeout=20)
            raise LabError(
                f"{device.name} is {status}: {last_line(err or out)}", f"docker logs {device.container}"
            )
        if time.monotonic() > deadline:
            raise LabError(
                f"{device.name} does not answer on {device.host}:{device.port} after {READY_S} s: {answer}",
                f"docker logs {device.container}; ssh -v -F {device.ssh_config} {device.name}",
            )
        time.sleep(0.2)


def _answer(device: Device, variation: Variation) -> str | None:
    """None when the board lets us in over SSH and runs its Python, else why not."""
    command = "true" if variation.without_python else "python3 -c ''"
    ssh = [
        "ssh",
        "-F",
        device.ssh_config,
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        device.name,
        command,
    ]
    status, _, err = attempt(ssh, timeout=20)
    return last_line(err) or f"ssh ended with {status}" if status else None


def _ensure_network() -> None:
    if attempt(["docker", "network", "inspect", NETWORK], timeout=30)[0] == 0:
        return
    # A board has no internet and no neighbours; published ports on loopback still reach it.
    bridge = "com.docker.network.bridge"
    isolation = ["--opt", f"{bridge}.enable_ip_masquerade=false", "--opt", f"{bridge}.enable_icc=false"]
    run(
        ["docker", "network", "create", *isolation, NETWORK],
        what="docker network create",
        cure="docker network ls",
    )


def _inspect(container: str, template: str) -> str | None:
    status, out, _ = attempt(["docker", "container", "inspect", "--format", template, container], timeout=30)
    return None if status else out


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError(
        f"no free port between {PORTS.start} and {PORTS.stop}", "close what listens there: ss -tln"
    )
