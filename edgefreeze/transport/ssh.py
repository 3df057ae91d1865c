"""A board over SSH: paramiko on a socket of our own, one exec channel, verified host keys."""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

import paramiko

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.transport import bootstrap, host_keys, ssh_config
from edgefreeze.transport.ssh_config import Resolved

Ask = Callable[[str], str | None]
"""Asks the user for a secret; None where nobody can be asked."""

CONNECT_TIMEOUT_S = 15.0
AUTH_TIMEOUT_S = 30.0
_TAIL = 16 * 1024
_PACKET = 32 * 1024
"""What OpenSSH takes at once."""
# What paramiko logs of a broken connection would go to the terminal; the error says it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@contextlib.contextmanager
def _as_os_errors() -> Generator[None]:
    """What paramiko raises of a connection that broke, as what every other stream raises."""
    try:
        yield
    except (EOFError, paramiko.SSHException) as error:
        raise ConnectionResetError(str(error) or "the connection was closed") from None


class _ChannelReader:
    """The channel's stdout, buffered so that the single bytes of a greeting cost nothing."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._buffer = b""

    def read(self, count: int) -> bytes:
        if not self._buffer:
            with _as_os_errors():
                self._buffer = self._channel.recv(256 * 1024)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class _ChannelWriter:
    """The channel's stdin; small writes are gathered until flush."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._pending.append(data)
        self._size += len(data)
        if self._size >= 1 << 18:
            self.flush()
        return len(data)

    def flush(self) -> None:
        if self._pending:
            view = memoryview(b"".join(self._pending))
            self._pending, self._size = [], 0
            with _as_os_errors():
                while view:  # sendall would copy all that is left for each packet
                    view = view[self._channel.send(bytes(view[:_PACKET])) :]


class SshStream:
    """The helper behind an exec channel."""

    def __init__(
        self, transport: paramiko.Transport, channel: paramiko.Channel, proxy: subprocess.Popen[bytes] | None
    ):
        self._transport = transport
        self._channel = channel
        self._proxy = proxy
        self._tail = bytearray()
        self.reader: BinaryIO = _ChannelReader(channel)  # type: ignore[assignment]
        self.writer: BinaryIO = _ChannelWriter(channel)  # type: ignore[assignment]
        # stderr shares the channel's window: unread, it would stall stdout.
        self._drain = threading.Thread(target=self._drain_stderr, daemon=True)
        self._drain.start()

    def _drain_stderr(self) -> None:
        while True:
            try:
                data = self._channel.recv_stderr(4096)
            except TimeoutError:
                continue
            except (OSError, EOFError):
                return
            if not data:
                return
            self._tail += data
            del self._tail[:-_TAIL]

    def set_timeout(self, seconds: float | None) -> None:
        """As Stream.set_timeout."""
        self._channel.settimeout(seconds)

    def stderr_tail(self) -> str:
        """As Stream.stderr_tail. Waits a moment for what is still on its way."""
        self._drain.join(0.3)
        return bytes(self._tail).decode("utf-8", "replace")

    def exit_status(self) -> int | None:
        """As Stream.exit_status."""
        deadline = time.monotonic() + 2
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._channel.recv_exit_status() if self._channel.exit_status_ready() else None

    def close(self) -> None:
        """End the channel, the connection and the jump."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
            self._channel.close()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._transport.close()
        _end(self._proxy)


def open_stream(destination: str, python: str, ask: Ask = lambda prompt: None) -> SshStream:
    """Connect to a destination as OpenSSH would and start the bootstrap there.

    Raises Failure ssh-missing, unreachable, auth-failed, host-key-*.
    """
    host = ssh_config.resolve(destination)
    timeout = host.connect_timeout_s or CONNECT_TIMEOUT_S
    sock, proxy = _connect(host, timeout)
    try:
        transport = paramiko.Transport(sock)
    except paramiko.SSHException as error:
        sock.close()
        raise _unreachable(host, str(error), proxy) from None
    try:
        known = host_keys.load(host)
        _prefer(transport, known)
        transport.banner_timeout = timeout
        transport.auth_timeout = AUTH_TIMEOUT_S
        try:
            transport.start_client(timeout=timeout)
            if transport.initial_kex_done is False:  # its timeout raises nothing
                raise _unreachable(host, f"no SSH handshake within {timeout:.0f} s", proxy)
            key = transport.get_remote_server_key()
        except Failure:
            raise
        except Exception as error:  # paramiko's reader raises whatever a garbled packet makes of it
            raise _unreachable(host, str(error) or type(error).__name__, proxy) from None
        host_keys.check(host, known, key.get_name(), key.asbytes())
        _authenticate(transport, host, ask)
        try:
            with _closed_after(transport, timeout):
                channel = transport.open_session(window_size=1 << 22, timeout=timeout)
                # Constant but for the interpreter, a path checked against a strict pattern when it was read.
                channel.exec_command(f"{_quoted(python)} -IS -c '{bootstrap.program()}'")
        except Exception as error:
            raise _unreachable(host, f"no session: {str(error) or type(error).__name__}", proxy) from None
        return SshStream(transport, channel, proxy)
    except BaseException:
        transport.close()
        _end(proxy)
        raise


@contextlib.contextmanager
def _closed_after(transport: paramiko.Transport, seconds: float) -> Generator[None]:
    """Close the connection should this take longer: paramiko waits for an answer to exec for ever."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _quoted(python: str) -> str:
    # A leading ~/ is the one thing that the device's shell has to expand.
    return "~/" + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)


def _connect(host: Resolved, timeout: float) -> tuple[socket.socket, subprocess.Popen[bytes] | None]:
    if host.proxy is not None:
        ours, theirs = socket.socketpair()
        # In a session of its own Ctrl-C is ours to handle; stderr goes to a pipe that is read on failure.
        proxy = subprocess.Popen(
            list(host.proxy),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        return ours, proxy
    try:
        sock = socket.create_connection((host.hostname, host.port), timeout=timeout)
    except OSError as error:
        raise _unreachable(host, _why(error, host, timeout), None) from None
    # paramiko never sets it, and Nagle with delayed acknowledgements costs some 40 ms an exchange.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)
    return sock, None


def _end(proxy: subprocess.Popen[bytes] | None) -> str:
    """End a jump; returns what it wrote to stderr."""
    if proxy is None or proxy.stderr is None or proxy.stderr.closed:
        return ""
    proxy.terminate()
    try:
        _, said = proxy.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        proxy.kill()
        _, said = proxy.communicate()
    return said.decode("utf-8", "replace")


def _why(error: OSError, host: Resolved, timeout: float) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name '{host.hostname}' cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:.0f} s"
    return error.strerror or str(error)


def _unreachable(host: Resolved, why: str, proxy: subprocess.Popen[bytes] | None) -> Failure:
    jump = clean(_end(proxy), 300)
    via = " through the jump" if proxy is not None else ""
    return Failure(
        "unreachable",
        f"{host.destination}: cannot reach {host.hostname} port {host.port}{via}",
        expected="an SSH server",
        found=clean(jump or why, 400),
        device_state="not contacted; unchanged",
        retry_safe=True,
        next=host.accept_command,
    )


def _prefer(transport: paramiko.Transport, known: list[host_keys.Entry]) -> None:
    """Ask for a host key of the kind that is known, or a server with several would look changed."""
    options = transport.get_security_options()
    kinds = {entry.kind for entry in known if not entry.revoked}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    offered = list(options.key_types)
    options.key_types = [k for k in offered if k in kinds] + [k for k in offered if k not in kinds]
    first = [c for c in ("aes128-gcm@openssh.com",) if c in options.ciphers]
    options.ciphers = first + [c for c in options.ciphers if c not in first]


def _keys(host: Resolved) -> tuple[list[paramiko.PKey], list[Path]]:
    """(keys that need no passphrase, files that need one)."""
    open_keys: list[paramiko.PKey] = []
    locked: list[Path] = []
    for file in host.identity_files:
        if not file.is_file():
            continue
        try:
            key = paramiko.PKey.from_path(file)
        except (paramiko.PasswordRequiredException, TypeError):
            locked.append(file)
            continue
        except (paramiko.SSHException, OSError, ValueError):
            continue
        open_keys.append(key)
    return open_keys, locked


def _candidates(host: Resolved, ask: Ask) -> Generator[paramiko.PKey]:
    """Keys in the order to try: files, the agent, then files that a passphrase opens."""
    open_keys, locked = _keys(host)
    yield from open_keys
    public = {k.asbytes() for k in open_keys} | _public_halves(locked)
    with contextlib.suppress(paramiko.SSHException), contextlib.closing(paramiko.Agent()) as agent:
        for key in agent.get_keys():
            if not host.identities_only or key.asbytes() in public:
                yield key
    for file in locked:
        phrase = os.environ.get("EDGEFREEZE_SSH_PASSPHRASE") or ask(f"Passphrase of {file}: ")
        if not phrase:
            continue
        with contextlib.suppress(paramiko.SSHException, ValueError, TypeError):
            # Declared as str; cryptography, to which it is handed, wants bytes.
            unlocked = paramiko.PKey.from_path(file, password=phrase.encode())  # type: ignore[arg-type]
            yield unlocked


def _public_halves(files: list[Path]) -> set[bytes]:
    halves = set()
    for file in files:
        with contextlib.suppress(OSError, binascii.Error, IndexError):
            halves.add(base64.b64decode(file.with_name(file.name + ".pub").read_text().split()[1]))
    return halves


def _authenticate(transport: paramiko.Transport, host: Resolved, ask: Ask) -> None:
    allowed: list[str] = []
    tried = 0
    candidates = _candidates(host, ask)
    try:
        for key in candidates:
            tried += 1
            try:
                if not transport.auth_publickey(host.user, key):
                    return
            except paramiko.BadAuthenticationType as error:
                allowed = list(error.allowed_types)
                break
            except paramiko.AuthenticationException:
                continue
        if "password" in allowed or not allowed:
            password = os.environ.get("EDGEFREEZE_SSH_PASSWORD") or ask(
                f"Password of {host.user}@{host.hostname}: "
            )
            if password:
                tried += 1
                transport.auth_password(host.user, password)
                return
    except Exception as error:  # see open_stream
        found = clean(str(error), 200) or "the server closed the connection"
    else:
        found = f"{tried} keys tried" if tried else "no key and no password to try"
    finally:
        candidates.close()  # and with it the agent's socket
    raise Failure(
        "auth-failed",
        f"{host.destination}: {host.user} cannot log in",
        expected="a key that the device accepts (IdentityFile, ssh-agent), or EDGEFREEZE_SSH_PASSWORD",
        found=found,
        device_state="not logged in; unchanged",
        retry_safe=True,
        next=f"ssh-copy-id, or see what happens: {host.accept_command}",
    )
