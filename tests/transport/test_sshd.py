"""Over a real OpenSSH server: who is let in, which host is believed, what a broken session says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.transport.client import Helper, Upload, connect

from .conftest import Sshd, free_port, key

pytestmark = pytest.mark.sshd


def board(tmp_path: Path, host: str = "board", python: str | None = sys.executable) -> Device:
    return Device(
        name=host, target="x86", transport="ssh", host=host, python=python, root=str(tmp_path / "device")
    )


def failure(device: Device) -> Failure:
    with pytest.raises(Failure) as caught:
        connect(device).close()
    return caught.value


def test_the_helper_greets_is_kept_and_answers(sshd: Sshd, tmp_path: Path) -> None:
    with connect(board(tmp_path)) as helper:
        assert helper.greeting.sent_bytes > 0
        assert helper.request("ping")["root"] == str(tmp_path / "device")
    with connect(board(tmp_path)) as helper:
        assert helper.greeting.sent_bytes == 0
        assert helper.request("probe")["machine"]


def test_a_helper_that_was_tampered_with_is_sent_again(sshd: Sshd, tmp_path: Path) -> None:
    connect(board(tmp_path)).close()
    (pyz,) = (tmp_path / "device" / "helper").glob("*.pyz")
    pyz.chmod(0o600)
    pyz.write_bytes(b"#!" + pyz.read_bytes()[2:] + b"x")
    with connect(board(tmp_path)) as helper:
        assert helper.greeting.sent_bytes > 0


def test_noise_of_a_login_shell_is_skipped(start_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.write_text(
        '#!/bin/sh\necho "Welcome to the board!"\nprintf "\\033[31m%s\\n" motd\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    start_sshd(f"ForceCommand {noisy}\n")
    with connect(board(tmp_path)) as helper:
        assert "Welcome to the board!" in helper.greeting.noise
        assert "\x1b" not in helper.greeting.noise


def test_an_unknown_host_key_is_refused_with_the_command_that_accepts_it(sshd: Sshd, tmp_path: Path) -> None:
    sshd.known_hosts.write_text("")
    found = failure(board(tmp_path))
    assert found.code == "host-key-unknown"
    assert found.exit_status == 4
    assert found.found is not None
    assert found.found.startswith("ssh-ed25519 SHA256:")
    assert found.next is not None
    assert found.next.startswith(f"ssh -F {sshd.config} -- board true")
    assert not (tmp_path / "device").exists()
    # The fingerprint is the one that ssh-keygen prints of the server's key.
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.folder / "host.pub")], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split()[1] in found.found
    # And the command does what it says (here without the question).
    command = found.next.split("    ")[0].split()
    subprocess.run(
        [*command[:3], "-o", "StrictHostKeyChecking=accept-new", *command[3:]],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    connect(board(tmp_path)).close()


def test_a_changed_host_key_is_refused_with_both_fingerprints(sshd: Sshd, tmp_path: Path) -> None:
    key(tmp_path / "other")
    kind, blob, *_ = (tmp_path / "other.pub").read_text().split()
    sshd.known_hosts.write_text(f"# comment\n[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    found = failure(board(tmp_path))
    assert found.code == "host-key-changed"
    assert f"{sshd.known_hosts}, line 2" in (found.expected or "")
    assert found.retry_safe is False
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in (found.next or "")


def test_a_revoked_host_key_is_refused_even_where_it_is_known(sshd: Sshd, tmp_path: Path) -> None:
    with sshd.known_hosts.open("a") as file:
        file.write(f"@revoked * {sshd.host_key()}\n")
    assert failure(board(tmp_path)).code == "host-key-revoked"


def test_a_hashed_known_hosts_is_understood(sshd: Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(sshd.known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in sshd.known_hosts.read_text()
    connect(board(tmp_path)).close()


def test_a_server_with_several_keys_is_asked_for_the_known_kind(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    rsa = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", str(rsa)], check=True)
    server = start_sshd(f"HostKey {rsa}\n")
    kind, blob, *_ = (tmp_path / "rsa.pub").read_text().split()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {kind} {blob}\n")
    connect(board(tmp_path)).close()


def test_nobody_is_let_in_without_a_key(sshd: Sshd, tmp_path: Path) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    found = failure(board(tmp_path))
    assert found.code == "auth-failed"
    assert "unchanged" in (found.device_state or "")


def test_a_key_with_a_passphrase_is_opened_when_asked(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("key", "key.pub"):
        (sshd.folder / file).unlink()
    key(sshd.folder / "key", "open sesame")
    (sshd.folder / "authorized_keys").write_text((sshd.folder / "key.pub").read_text())
    assert failure(board(tmp_path)).code == "auth-failed"
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    connect(board(tmp_path), ask).close()
    assert prompts == [f"Passphrase of {sshd.folder}/key: "]
    monkeypatch.setenv("EDGEFREEZE_SSH_PASSPHRASE", "open sesame")
    connect(board(tmp_path)).close()


def test_the_agents_key_is_used(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    values = dict(part.split("=", 1) for part in agent.replace(";", "").split() if "=" in part)
    monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])
    try:
        subprocess.run(["ssh-add", "-q", str(sshd.folder / "key")], check=True, env=dict(os.environ))
        (sshd.folder / "key").rename(tmp_path / "moved")
        config = sshd.config.read_text().replace("IdentitiesOnly yes", "IdentitiesOnly no")
        sshd.config.write_text(config)
        connect(board(tmp_path)).close()
    finally:
        os.kill(int(values["SSH_AGENT_PID"]), 15)


def test_a_jump_is_taken(start_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    jump = start_sshd(name="jump")
    far = start_sshd(name="far")
    far.config.write_text(
        far.config.read_text()
        + "  ProxyJump jump\n"
        + jump.config.read_text().replace("Host board", "Host jump")
    )
    seen = jump.process.pid
    with connect(board(tmp_path)) as helper:
        assert helper.request("ping")
        children = subprocess.run(["pgrep", "-P", str(seen)], capture_output=True, text=True).stdout.split()
        assert children, "nothing went through the jump"
    jump.known_hosts.write_text("")
    (far.folder / "known_hosts").write_text(far.known_hosts.read_text())
    found = failure(board(tmp_path))
    assert found.code == "unreachable"
    assert "through the jump" in found.message
    assert "Host key verification failed" in (found.found or "")


def test_nothing_listens(sshd: Sshd, tmp_path: Path) -> None:
    sshd.configure(f"  Port {free_port()}\n".replace("Port", "#Port"))
    sshd.config.write_text(sshd.config.read_text().replace(f"Port {sshd.port}", f"Port {free_port()}"))
    found = failure(board(tmp_path))
    assert found.code == "unreachable"
    assert found.found == "Connection refused"
    assert found.retry_safe is True
    assert found.device_state == "not contacted; unchanged"


def test_a_name_that_cannot_be_resolved(sshd: Sshd, tmp_path: Path) -> None:
    sshd.config.write_text(sshd.config.read_text().replace("127.0.0.1", "nowhere.invalid"))
    assert failure(board(tmp_path)).found == "the name 'nowhere.invalid' cannot be resolved"


def test_no_python_on_the_device(sshd: Sshd, tmp_path: Path) -> None:
    found = failure(board(tmp_path, python="/no/such/python3"))
    assert found.code == "no-python"
    assert "/no/such/python3" in (found.found or "")


def test_a_python_that_is_too_old_says_so(sshd: Sshd, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    # What the bootstrap does on an old Python, with the version faked: there is no Python 3.5 to be had.
    old.write_text(
        "#!/bin/sh\n"
        f'exec {sys.executable} -I -c "import sys; sys.version_info = (3, 5, 3, 0, 0); exec(sys.argv[1])" "$3"\n'
    )
    old.chmod(0o755)
    found = failure(board(tmp_path, python=str(old)))
    assert found.code == "old-python"
    assert found.found == "3.5.3"


def test_a_device_that_says_something_else(sshd: Sshd, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_text("#!/bin/sh\necho 'This account is not available.'\nexit 1\n")
    odd.chmod(0o755)
    found = failure(board(tmp_path, python=str(odd)))
    assert found.code == "helper-no-greeting"
    assert "This account is not available." in (found.found or "")


def test_a_root_that_cannot_be_written(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "device").write_text("a file is in the way")
    found = failure(board(tmp_path))
    assert found.code == "store-io"


def test_a_helper_that_dies_is_named_with_the_step(sshd: Sshd, tmp_path: Path) -> None:
    helper: Helper = connect(board(tmp_path))
    pid = helper.request("ping")["pid"]
    threading.Timer(0.3, lambda: os.kill(pid, 9)).start()
    time.sleep(0.6)
    with pytest.raises(Failure) as caught:
        helper.request("probe")
    assert caught.value.code == "helper-died"
    assert "lost during 'probe'" in caught.value.message
    assert caught.value.retry_safe is True
    helper.close()


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_connection_that_breaks_while_something_is_sent_is_an_error_of_ours(
    sshd: Sshd, tmp_path: Path, size: int
) -> None:
    helper = connect(board(tmp_path))
    helper._stream._transport.sock.shutdown(2)  # type: ignore[attr-defined]
    content = bytes(size)
    with pytest.raises(Failure) as caught:
        helper.put([Upload("0" * 64, size, lambda: io.BytesIO(content))], lambda count: None)
    assert caught.value.code == "helper-died"
    assert "lost during 'put'" in caught.value.message
    assert "nothing was switched" in (caught.value.device_state or "")
    helper.close()


def test_closing_leaves_no_process(sshd: Sshd, tmp_path: Path) -> None:
    helper = connect(board(tmp_path))
    pid = helper.request("ping")["pid"]
    helper.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
