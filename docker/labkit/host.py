"""What the machine must offer: docker's daemon, an emulator for Arm programs, a Debian mirror."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from labkit.models import Architecture
from labkit.shell import LabError, attempt, last_line, run, say, stage
from labkit.state import State

BINFMT = Path("/proc/sys/fs/binfmt_misc")
DAEMON_S = 60


def need(program: str, package: str) -> None:
    """Raise LabError where a program is missing, with the Debian package that brings it."""
    if not shutil.which(program):
        raise LabError(f"{program} is not installed", f"apt-get install {package}")


def ensure_daemon(state: State) -> None:
    """Have a docker daemon on this machine that answers; start one where none does and we are root."""
    remote = os.environ.get("DOCKER_HOST", "")
    if remote and not remote.startswith("unix://"):
        raise LabError(
            f"DOCKER_HOST is {remote}, and the lab's boards listen on this machine's loopback only",
            "unset DOCKER_HOST",
        )
    need("docker", "docker.io")
    answer = _daemon_answer()
    if answer is None:
        return
    if "permission denied" in answer.lower():
        raise LabError(
            f"the docker daemon turns this user away: {answer}", "join the group docker, or be root"
        )
    if os.geteuid() != 0:
        raise LabError(f"no docker daemon answers: {answer}", "start it: sudo systemctl start docker")
    with stage("starting the docker daemon"):
        if Path("/run/systemd/system").is_dir():
            run(["systemctl", "start", "docker"], what="systemctl start docker", cure="journalctl -u docker")
            _await_daemon(None, state.daemon_log)
        else:
            need("dockerd", "docker.io")
            _start_daemon(state)


def stop_daemon(state: State) -> None:
    """Stop the daemon, if it is the one that `ensure_daemon` started."""
    pid = state.daemon_pid()
    if pid is None:
        say("the docker daemon is not this lab's: left running")
        return
    os.kill(pid, 15)
    deadline = time.monotonic() + DAEMON_S
    while state.daemon_pid() is not None:
        if time.monotonic() > deadline:
            raise LabError(f"dockerd ({pid}) does not stop", f"see {state.daemon_log}")
        time.sleep(0.2)
    state.daemon_pid_file.unlink(missing_ok=True)
    say("stopped the docker daemon")


def _daemon_answer() -> str | None:
    """None when the daemon answers, else why not."""
    status, _, err = attempt(["docker", "version", "--format", "{{.Server.Version}}"], timeout=20)
    return last_line(err) or "no answer" if status else None


def _start_daemon(state: State) -> None:
    # systemd mounts the control groups; where it is not, Debian's docker.io recommends a program for it.
    if not os.path.ismount("/sys/fs/cgroup") and shutil.which("cgroupfs-mount"):
        attempt(["cgroupfs-mount"], timeout=30)
    # Without rights to change iptables, docker's userland proxy still publishes ports on loopback.
    for options in ([], ["--iptables=false", "--ip6tables=false"]):
        with state.daemon_log.open("wb") as log:
            daemon = subprocess.Popen(
                ["dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        state.daemon_pid_file.write_text(f"{daemon.pid}\n")
        if _await_daemon(daemon, state.daemon_log):
            return
        if "iptables" not in state.daemon_log.read_text(errors="replace"):
            break
    state.daemon_pid_file.unlink(missing_ok=True)
    cause = last_line(state.daemon_log.read_text(errors="replace"))
    raise LabError(
        f"dockerd ended: {cause}", f"see {state.daemon_log}; without systemd it needs cgroupfs-mount"
    )


def _await_daemon(daemon: subprocess.Popen[bytes] | None, log: Path) -> bool:
    """Whether the daemon answers; False when it ended. Raises LabError after DAEMON_S seconds."""
    deadline = time.monotonic() + DAEMON_S
    while (answer := _daemon_answer()) is not None:
        if daemon is not None and daemon.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise LabError(f"no answer from the docker daemon in {DAEMON_S} s: {answer}", f"see {log}")
        time.sleep(0.25)
    return True


def ensure_emulator(architecture: Architecture) -> None:
    """Have the kernel run programs of `architecture` through qemu, inside containers too."""
    if not architecture.emulated:
        return
    name = f"qemu-{architecture.qemu}"
    entry = BINFMT / name
    if not (BINFMT / "register").exists():
        _need_root("mounting binfmt_misc")
        run(
            ["mount", "-t", "binfmt_misc", "none", BINFMT],
            what="the kernel offers no binfmt_misc",
            cure="load the module (modprobe binfmt_misc), or work with x86 alone",
        )
    if not entry.exists():
        _need_root(f"registering {name} with the kernel")
        rule = Path("/usr/lib/binfmt.d") / f"{name}.conf"
        if not rule.exists():
            raise LabError(f"no {rule}: the emulator is not installed", "apt-get install qemu-user-static")
        (BINFMT / "register").write_bytes(rule.read_bytes())
        say(f"registered {name} with the kernel")
    text = entry.read_text()
    if not text.startswith("enabled"):
        raise LabError(f"{entry} is disabled", f"as root: echo 1 > {entry}")
    # F: the interpreter is opened at registration, so that it need not exist inside the container.
    if not re.search(r"^flags:.*F", text, re.MULTILINE):
        raise LabError(
            f"{name} is registered without the flag F and does not work inside containers",
            f"as root: echo -1 > {entry}, then this command again",
        )


def _need_root(step: str) -> None:
    if os.geteuid() != 0:
        raise LabError(
            f"{step} needs root", "run docker/lab up once as root, or: sudo systemctl restart systemd-binfmt"
        )


def debian_mirror() -> str:
    """The URL of the Debian mirror that this machine's own apt uses, or EDGEFREEZE_LAB_MIRROR.

    Raises LabError where apt knows none, as on other distributions.
    """
    if url := os.environ.get("EDGEFREEZE_LAB_MIRROR"):
        return url
    filters = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
    question = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters]
    _, out, _ = attempt(question, timeout=20)
    if not out and os.geteuid() == 0:
        with stage("apt-get update"):  # apt says nothing of a mirror whose index it has never seen
            attempt(["apt-get", "update"], timeout=300)
        _, out, _ = attempt(question, timeout=20)
    if not out:
        raise LabError(
            "this machine's apt knows no Debian mirror",
            "apt-get update, or set EDGEFREEZE_LAB_MIRROR to a mirror's URL",
        )
    return out.splitlines()[0]


def apt_options() -> str:
    """How this machine's apt reaches its mirror (proxies, certificates, date checks), as apt.conf text."""
    _, out, _ = attempt(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"], timeout=20)
    wanted = re.compile(r"Acquire::(https?::|Check-|Retries)")
    return "".join(f"{line}\n" for line in out.splitlines() if wanted.match(line))
