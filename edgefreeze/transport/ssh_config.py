"""What OpenSSH would do with a destination: asked of `ssh -G`, so that Include, Match, ProxyJump,
IdentityFile, ports and users of ~/.ssh/config hold. paramiko's own reader knows only some of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.text import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A destination as OpenSSH resolves it."""

    destination: str
    """As the user named it."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    proxy: tuple[str, ...] | None
    """The command whose stdin and stdout are the connection (`ssh -W …`, or the user's ProxyCommand)."""
    known_hosts: tuple[Path, ...]
    host_key_alias: str | None
    connect_timeout_s: float | None
    accept_command: str
    """What a person types to see the host key's fingerprint and accept it."""

    @property
    def known_hosts_name(self) -> str:
        """The name under which known_hosts lists this host."""
        if self.host_key_alias:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def config_arguments() -> list[str]:
    """`-F FILE` where EDGEFREEZE_SSH_CONFIG names a configuration other than the user's own."""
    file = os.environ.get("EDGEFREEZE_SSH_CONFIG")
    return ["-F", file] if file else []


def resolve(destination: str) -> Resolved:
    """Ask OpenSSH. `destination` is an alias, host, user@host, or either with :port.

    Raises Failure ssh-missing, unreachable (where OpenSSH refuses the destination).
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise Failure(
            "ssh-missing", "ssh is not installed on this machine", next="sudo apt install openssh-client"
        )
    host, port = split_port(destination)
    arguments = [*config_arguments(), *(["-p", str(port)] if port else []), "--", host]
    done = subprocess.run([ssh, "-G", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise Failure(
            "unreachable",
            f"{destination}: OpenSSH cannot resolve this destination",
            found=clean(done.stderr, 300),
            next=shlex.join(["ssh", "-G", *arguments]),
        )
    return parse(destination, done.stdout, shlex.join(["ssh", *arguments, "true"]))


def split_port(destination: str) -> tuple[str, int | None]:
    """'pi@cam1:2222' to ('pi@cam1', 2222); an IPv6 address with a port stands in brackets."""
    bracketed = re.fullmatch(r"((?:[^@]+@)?)\[([^\]]+)\](?::(\d+))?", destination)
    if bracketed:
        return bracketed[1] + bracketed[2], int(bracketed[3]) if bracketed[3] else None
    plain = re.fullmatch(r"([^:]+):(\d+)", destination)
    if plain:
        return plain[1], int(plain[2])
    return destination, None


def parse(destination: str, output: str, accept_command: str) -> Resolved:
    """`ssh -G`'s output to what we use of it. Pure."""
    values: dict[str, list[str]] = {}
    for line in output.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)

    def one(key: str) -> str | None:
        value = values.get(key, ["none"])[0]
        return None if value in ("none", "") else value

    hostname, port, user = one("hostname") or destination, int(one("port") or 22), one("user") or ""
    timeout = one("connecttimeout")
    known = [*shlex.split(one("userknownhostsfile") or ""), *shlex.split(one("globalknownhostsfile") or "")]
    return Resolved(
        destination=destination,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(Path(_unquote(f)).expanduser() for f in values.get("identityfile", [])),
        identities_only=one("identitiesonly") == "yes",
        proxy=_proxy(one("proxyjump"), one("proxycommand"), hostname, port, user, destination),
        known_hosts=tuple(Path(f).expanduser() for f in known),
        host_key_alias=one("hostkeyalias"),
        connect_timeout_s=float(timeout) if timeout and timeout.isdigit() else None,
        accept_command=accept_command,
    )


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _proxy(
    jump: str | None, command: str | None, hostname: str, port: int, user: str, destination: str
) -> tuple[str, ...] | None:
    if jump:
        *before, last = jump.split(",")
        target = f"[{hostname}]:{port}"
        via = ["-J", ",".join(before)] if before else []
        where = last if "://" in last else f"ssh://{last}"
        # BatchMode would forbid a passphrase prompt on the user's terminal; ssh asks there, not on stdin.
        return ("ssh", *config_arguments(), *via, "-W", target, "--", where)
    if command:
        tokens = {"%h": hostname, "%p": str(port), "%r": user, "%n": destination, "%%": "%"}
        line = re.sub("%[hprn%]", lambda m: shlex.quote(tokens[m[0]]) if m[0] != "%%" else "%", command)
        # ProxyCommand is by definition a line for the user's shell, from the user's own configuration.
        return ("/bin/sh", "-c", "exec " + line)
    return None
