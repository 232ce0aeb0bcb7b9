"""Signals that ask a job to stop, and the line that tells its progress."""

from __future__ import annotations

import signal
import sys
import time
from datetime import timedelta

from tqdm import tqdm

from runs.terminal import say

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(Exception):
    """A signal came, and the state is saved: exit status 75."""


class StopFlag:
    """Flag that the first stop signal sets, once `listen` was called. A second Ctrl-C stops at once; unsaved work is lost."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def name(self) -> str:
        """The signal's name; empty before one came."""
        return self.signal.name if self.signal is not None else ""

    def listen(self) -> StopFlag:
        """Handle stop signals from now on; SIGHUP only if it is not ignored. Returns itself."""
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
                signal.signal(number, self._set)
        return self

    def _set(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


class Progress:
    """Progress of one phase: a bar on a terminal, elsewhere a plain line every `every` seconds."""

    def __init__(self, phase: str, total: int, done: int = 0, every: float = 30.0):
        self.phase, self.total, self.done, self.every = phase, total, done, every
        self._started, self._at_start, self._last_line = time.monotonic(), done, time.monotonic()
        self._bar = tqdm(total=total, initial=done, desc=phase, unit="step", dynamic_ncols=True) if sys.stderr.isatty() else None
        self._values: dict[str, float] = {}

    def update(self, news: dict[str, float], steps: int) -> None:
        """Add steps. A value of `news` is shown until a newer one replaces it."""
        self.done += steps
        self._values.update(news)
        if self._bar is not None:
            if news:
                self._bar.set_postfix_str(self._info(), refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._last_line >= self.every or self.done == self.total > 0:
            self._last_line = time.monotonic()
            left = timedelta(seconds=round(self.seconds_left()))
            ending = f", {self._info()}" if self._values else ""
            say(f"{self.phase}: {self.done}/{self.total} steps, {left} left{ending}")

    def _info(self) -> str:
        return ", ".join(f"{what} {value:.3f}" for what, value in self._values.items())

    def seconds_left(self) -> float:
        """Return the seconds left at the pace so far; 0 before the first step."""
        steps = self.done - self._at_start
        return (time.monotonic() - self._started) / steps * (self.total - self.done) if steps else 0.0

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
