"""A limit on the rate at which content is sent, so that a deployment leaves a thin link usable."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Sleeps so that no more than `rate` bytes a second are sent on average; None is no limit."""

    def __init__(
        self,
        rate: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock, self._sleep = clock, sleep
        self._due = 0.0

    def piece(self, most: int) -> int:
        """Bytes to send at once: a quarter of a second's, so that the device never waits long."""
        return most if self._rate is None else max(1024, min(most, self._rate // 4))

    def sent(self, count: int) -> None:
        """Wait as long as these bytes may take. Time lost earlier is not made up for in a burst."""
        if self._rate is None:
            return
        now = self._clock()
        self._due = max(self._due, now) + count / self._rate
        self._sleep(self._due - now)
