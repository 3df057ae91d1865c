"""What `ssh -G` says, read; and destinations, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefreeze.transport.ssh_config import parse, split_port

OUTPUT = """\
user pi
hostname 192.0.2.7
port 2222
identitiesonly yes
identityfile ~/.ssh/id_board
identityfile "/keys/with space"
userknownhostsfile /home/me/.ssh/known_hosts /home/me/.ssh/known_hosts2
globalknownhostsfile /etc/ssh/ssh_known_hosts
connecttimeout none
"""


@pytest.mark.parametrize(
    ("destination", "host", "port"),
    [
        ("cam1", "cam1", None),
        ("pi@cam1", "pi@cam1", None),
        ("pi@cam1:2222", "pi@cam1", 2222),
        ("pi@[2001:db8::1]:22", "pi@2001:db8::1", 22),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("2001:db8::1", "2001:db8::1", None),
    ],
)
def test_destinations(destination: str, host: str, port: int | None) -> None:
    assert split_port(destination) == (host, port)


def test_the_values_that_we_use() -> None:
    host = parse("cam1", OUTPUT, "ssh cam1 true")
    assert (host.hostname, host.port, host.user, host.identities_only) == ("192.0.2.7", 2222, "pi", True)
    assert host.identity_files == (Path("~/.ssh/id_board").expanduser(), Path("/keys/with space"))
    assert [p.name for p in host.known_hosts] == ["known_hosts", "known_hosts2", "ssh_known_hosts"]
    assert host.known_hosts_name == "[192.0.2.7]:2222"
    assert host.connect_timeout_s is None
    assert host.proxy is None


def test_an_alias_for_the_key_and_a_timeout() -> None:
    host = parse("cam1", OUTPUT + "hostkeyalias the-camera\n", "x")
    assert host.known_hosts_name == "the-camera"
    assert parse("c", OUTPUT.replace("connecttimeout none", "connecttimeout 7"), "x").connect_timeout_s == 7
    assert parse("c", OUTPUT.replace("2222", "22"), "x").known_hosts_name == "192.0.2.7"


def test_jumps_are_ssh_w(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFREEZE_SSH_CONFIG", raising=False)
    one = parse("cam1", OUTPUT + "proxyjump me@gate:2200\n", "x")
    assert one.proxy == ("ssh", "-W", "[192.0.2.7]:2222", "--", "ssh://me@gate:2200")
    two = parse("cam1", OUTPUT + "proxyjump gate1,gate2\n", "x")
    assert two.proxy == ("ssh", "-J", "gate1", "-W", "[192.0.2.7]:2222", "--", "ssh://gate2")


def test_the_users_proxy_command_gets_quoted_values() -> None:
    text = OUTPUT.replace("192.0.2.7", "a;b") + "proxycommand nc -x 'proxy 1' %h %p %%\n"
    host = parse("cam1", text, "x")
    assert host.proxy == ("/bin/sh", "-c", "exec nc -x 'proxy 1' 'a;b' 2222 %")
