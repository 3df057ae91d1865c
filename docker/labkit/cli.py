"""The command line of the lab; the only place that prints data and decides the exit status."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import NoReturn

from labkit import containers, host, images
from labkit.containers import Variation
from labkit.models import DEFAULT, MODELS
from labkit.shell import LabError, say
from labkit.state import Device, State

EXAMPLES = f"""\
examples:
  docker/lab up                          the boards x86 and pi4 (a first time: about 3 minutes; then seconds)
  docker/lab up x86                      no emulation, half a minute
  docker/lab ssh pi4                     log in
  docker/lab ssh pi4 python3 --version   run something there
  docker/lab status                      what is up, and where
  docker/lab start pi4 --name cam2       a further board of a kind
  docker/lab start x86 --name full --home-size 64m
  docker/lab down cam2                   remove one board
  docker/lab down --images --daemon      leave nothing behind

kinds of boards: {", ".join(MODELS)}

The lab's folder is EDGEFREEZE_LAB_DIR, else edgefreeze-lab in XDG_STATE_HOME (~/.local/state).
lab.json in it says what is up. Nothing listens anywhere but on 127.0.0.1.
exit status: 0 done, 1 failed or not up, 2 usage, 130 interrupted
"""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = _parser().parse_args(argv)
    state = State.from_environment()
    try:
        status: int = arguments.run(state, arguments)
    except LabError as error:
        say(f"error: {error}")
        say(f"cure:  {error.cure}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what was half built is gone")
        return 130
    return status


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="docker/lab",
        description="Boards to deploy to on one machine: containers, one of them an emulated Raspberry Pi.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="have boards up, each under the name of its kind")
    up.add_argument("models", nargs="*", metavar="KIND", help=f"default: {' '.join(DEFAULT)}")
    _add_base(up)
    up.set_defaults(run=_up)

    start = commands.add_parser("start", help="start a further board of a kind under a name of its own")
    start.add_argument("model", metavar="KIND")
    start.add_argument("--name", required=True)
    start.add_argument(
        "--home-size", metavar="SIZE", help="make its home a file system of this size, such as 64m"
    )
    start.add_argument("--without-python", action="store_true", help="remove its Python")
    start.add_argument("--json", action="store_true", help="print what lab.json has of it")
    _add_base(start)
    start.set_defaults(run=_start)

    status = commands.add_parser("status", help="what is up, and where")
    status.add_argument("--json", action="store_true", help="print lab.json, with each board's state")
    status.set_defaults(run=_status)

    ssh = commands.add_parser("ssh", help="log in, or run a command there")
    ssh.add_argument("name", metavar="NAME")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    ssh.set_defaults(run=_ssh)

    down = commands.add_parser("down", help="remove boards; without a name all, and the lab's keys")
    down.add_argument("names", nargs="*", metavar="NAME")
    down.add_argument(
        "--images", action="store_true", help="remove the images too (the next up makes them anew)"
    )
    down.add_argument("--daemon", action="store_true", help="stop the docker daemon, if the lab started it")
    down.set_defaults(run=_down)
    return parser


def _add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base",
        choices=("auto", "registry", "mmdebstrap"),
        default="auto",
        help="where a Debian base comes from: the public image, or this machine's own Debian mirror; "
        "auto (default): the first where a registry answers",
    )


def _up(state: State, arguments: argparse.Namespace) -> int:
    names = arguments.models or DEFAULT
    for name in names:
        _check_model(name)
    with state.lock():
        start = time.monotonic()
        devices = [_bring_up(state, name, name, Variation(), arguments.base) for name in dict.fromkeys(names)]
        say(f"up in {time.monotonic() - start:.0f} s; state: {state.root}")
    config = shlex.quote(str(state.ssh_config))
    for name in (device.name for device in devices):
        print(f"{name}: docker/lab ssh {name}, or: ssh -F {config} {name}")
    return 0


def _start(state: State, arguments: argparse.Namespace) -> int:
    _check_model(arguments.model)
    if not NAME.fullmatch(arguments.name) or arguments.name in MODELS:
        raise LabError(
            f"no name for a further board: {arguments.name!r}",
            "small letters, digits and -, and no kind's name",
        )
    variation = Variation(home_size=arguments.home_size, without_python=arguments.without_python)
    with state.lock():
        device = _bring_up(state, arguments.name, arguments.model, variation, arguments.base)
    if arguments.json:
        print(json.dumps(asdict(device)))
    else:
        print(f"{device.name}: docker/lab ssh {device.name}")
    return 0


def _bring_up(state: State, name: str, model_name: str, variation: Variation, base: str) -> Device:
    model = MODELS[model_name]
    for program in ("ssh", "ssh-keygen"):
        host.need(program, "openssh-client")
    host.ensure_daemon(state)
    host.ensure_emulator(model.architecture)
    image = images.ensure_device_image(state, model, base)
    device, changed = containers.ensure_device(state, name, model_name, image, variation)
    kind = f"{device.machine}, emulated" if device.emulated else device.machine
    say(f"{name} ({kind}) {'is' if changed else 'was'} up on {device.host}:{device.port}")
    return device


def _status(state: State, arguments: argparse.Namespace) -> int:
    devices = state.devices()
    states = {name: containers.container_status(device) for name, device in devices.items()}
    if arguments.json:
        entries = {name: {**asdict(device), "state": states[name]} for name, device in devices.items()}
        print(json.dumps({"schema": 1, "devices": entries}, indent=2))
    elif not devices:
        say(f"nothing is up ({state.root}); docker/lab up")
    for name, device in devices.items() if not arguments.json else ():
        kind = f"{device.machine}, emulated" if device.emulated else device.machine
        print(f"{name:14} {states[name]:8} {device.host}:{device.port}  {kind:20}  {device.container}")
    return 0 if devices and all(value == "running" for value in states.values()) else 1


def _ssh(state: State, arguments: argparse.Namespace) -> int:
    devices = state.devices()
    if arguments.name not in devices:
        up = ", ".join(devices) or "none"
        raise LabError(f"no board {arguments.name!r} is up (up: {up})", "docker/lab up")
    sys.stdout.flush()
    os.execvp("ssh", ["ssh", "-F", str(state.ssh_config), arguments.name, *arguments.command])  # noqa: S606 - an argument list


def _down(state: State, arguments: argparse.Namespace) -> int:
    if not state.root.exists():
        say(f"nothing is up ({state.root})")
        return 0
    with state.lock():
        devices = state.devices()
        for name in arguments.names:
            if name not in devices:
                raise LabError(
                    f"no board {name!r} is up (up: {', '.join(devices) or 'none'})", "docker/lab status"
                )
        for name in arguments.names or devices:
            containers.remove_device(state, name, devices[name].container)
            say(f"removed {name}")
        if not arguments.names:
            _forget(state)
        if arguments.images:
            images.remove_images()
        if arguments.daemon:
            host.stop_daemon(state)
    return 0


def _forget(state: State) -> None:
    """Remove what no record names any more: stray containers, the network, the keys."""
    for container in containers.containers_of(state):
        containers.remove_container(container)
    containers.remove_network()
    for path in (
        state.lab_json,
        state.ssh_config,
        state.known_hosts,
        state.key,
        state.key.with_suffix(".pub"),
    ):
        path.unlink(missing_ok=True)
    shutil.rmtree(state.host_keys, ignore_errors=True)


def _check_model(name: str) -> None:
    if name not in MODELS:
        raise LabError(f"no kind of board {name!r}", f"one of: {', '.join(MODELS)}")
