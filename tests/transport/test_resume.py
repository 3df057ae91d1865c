"""A large file that breaks off goes on where it was, over the real helper; and the limit of the rate."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.transport.client import Helper, Upload, connect
from edgefreeze.transport.pace import Pace

pytestmark = pytest.mark.process

SIZE = 6_000_000
CONTENT = os.urandom(SIZE)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Torn(io.BytesIO):
    """A file whose reader dies at `limit`."""

    limit = 4_000_000

    def read(self, count: int | None = -1) -> bytes:
        if self.tell() >= self.limit:
            time.sleep(1)  # what is under way arrives
            raise ConnectionResetError("the link is gone")
        return super().read(count)


@pytest.fixture
def open_device(tmp_path: Path) -> Callable[[], Helper]:
    device = Device(
        name="board", target="x86", transport="local", host=None, python=None, root=str(tmp_path / "root")
    )
    return lambda: connect(device, lambda prompt: None)


def missing(helper: Helper) -> tuple[list[str], dict[str, int]]:
    found = helper.request("missing", {"digests": [[DIGEST, SIZE]]})
    return found["missing"], found["partial"]


def break_off(open_device: Callable[[], Helper]) -> None:
    helper = open_device()
    with pytest.raises((ConnectionResetError, Failure)):
        helper.put([Upload(DIGEST, SIZE, lambda: Torn(CONTENT))], lambda count: None)
    helper.close()


def test_what_has_arrived_is_not_sent_again(open_device: Callable[[], Helper]) -> None:
    break_off(open_device)
    with open_device() as helper:
        absent, partial = missing(helper)
        assert absent == [DIGEST]
        assert 1_000_000 < partial[DIGEST] <= Torn.limit + 256 * 1024
        told: list[int] = []
        sent = helper.put([Upload(DIGEST, SIZE, lambda: io.BytesIO(CONTENT), partial[DIGEST])], told.append)
        assert sent == sum(told) == SIZE - partial[DIGEST]
        helper.request("commit")
        assert missing(helper) == ([], {})


def test_what_was_there_is_hashed_before_it_is_believed(
    open_device: Callable[[], Helper], tmp_path: Path
) -> None:
    break_off(open_device)
    (kept,) = (tmp_path / "root" / "store" / "partial").iterdir()
    data = bytearray(kept.read_bytes())
    data[1000] ^= 1
    kept.write_bytes(bytes(data))
    with open_device() as helper:
        partial = missing(helper)[1]
        with pytest.raises(Failure) as caught:
            helper.put([Upload(DIGEST, SIZE, lambda: io.BytesIO(CONTENT), partial[DIGEST])], lambda n: None)
        assert caught.value.code == "digest-mismatch"
    with open_device() as helper:
        assert missing(helper) == ([DIGEST], {})
        assert helper.put([Upload(DIGEST, SIZE, lambda: io.BytesIO(CONTENT))], lambda n: None) == SIZE
        helper.request("commit")
        assert missing(helper) == ([], {})


def upload(data: bytes, announced: bytes | None = None) -> Upload:
    """A content, announced as that of other bytes where some are given."""
    digest = hashlib.sha256(data if announced is None else announced).hexdigest()
    return Upload(digest, len(data), lambda: io.BytesIO(data))


def gone() -> BinaryIO:
    raise FileNotFoundError(2, "No such file or directory")


def test_the_next_request_gets_its_own_answer_after_a_put_that_failed(
    open_device: Callable[[], Helper],
) -> None:
    """Also where hundreds more are under way, and where their answers are failures too."""
    wrong = [upload(b"b%d" % i, b"a%d" % i) for i in range(3)]
    good = [upload(b"%d" % i) for i in range(600)]
    with open_device() as helper:
        for uploads in ([good[0], *wrong, *good], [*good[:300], *wrong, good[300]]):
            with pytest.raises(Failure) as caught:
                helper.put(uploads, lambda count: None)
            assert caught.value.code == "digest-mismatch"
            assert caught.value.found == hashlib.sha256(b"b0").hexdigest()  # the first failure is told
            assert helper.request("ping")["protocol"]
        assert helper.put(good, lambda count: None) > 0


def test_a_file_that_is_gone_here_is_not_the_devices_death(open_device: Callable[[], Helper]) -> None:
    with open_device() as helper:
        lost = Upload("0" * 64, 5, gone)
        with pytest.raises(Failure, match="No such file") as caught:
            helper.put([upload(b"one"), lost, upload(b"two")], lambda count: None)
        assert caught.value.code == "internal"
        assert helper.request("ping")["protocol"]


@pytest.mark.parametrize("limit", [0, 300_000])
def test_after_half_a_file_nothing_more_is_said(open_device: Callable[[], Helper], limit: int) -> None:
    """The device waits for the rest: whatever came next would be taken for it."""
    short = Upload("0" * 64, 400_000, lambda: io.BytesIO(bytes(limit)))
    helper = open_device()
    with pytest.raises(Failure, match="shorter than it was") as caught:
        helper.put([upload(b"one"), short], lambda count: None)
    assert caught.value.code == "internal"
    with pytest.raises(Failure) as caught:
        helper.request("ping")
    assert caught.value.code == "helper-died"
    helper.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def test_the_rate_is_kept_and_lost_time_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(100_000, clock=clock, sleep=clock.sleep)
    assert pace.piece(256 * 1024) == 25_000
    for _ in range(40):
        pace.sent(25_000)
    assert clock.now == pytest.approx(110.0)
    clock.now += 60
    before = clock.now
    for _ in range(8):
        pace.sent(25_000)
    assert clock.now - before == pytest.approx(2.0)


def test_without_a_limit_nobody_waits() -> None:
    def never(seconds: float) -> None:
        raise AssertionError

    pace = Pace(None, sleep=never)
    assert pace.piece(1234) == 1234
    pace.sent(10**9)


def test_a_limit_holds_over_the_real_channel(open_device: Callable[[], Helper]) -> None:
    content = os.urandom(60_000)
    digest = hashlib.sha256(content).hexdigest()
    with open_device() as helper:
        started = time.monotonic()
        helper.put([Upload(digest, 60_000, lambda: io.BytesIO(content))], lambda n: None, rate=100_000)
        assert time.monotonic() - started >= 0.5
        helper.request("commit")
