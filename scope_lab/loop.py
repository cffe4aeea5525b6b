"""What every long loop needs: seconds by stage, and an end that loses nothing."""

import signal
import time
from contextlib import contextmanager

import torch
from tqdm import tqdm


class Stopwatch:
    """Seconds of each stage, and of all."""

    def __init__(self):
        self.started = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.laps[stage], self.last = now - self.last, now

    @property
    def seconds(self) -> dict[str, float]:
        return {**{f"seconds_{stage}": s for stage, s in self.laps.items()}, "seconds": self.last - self.started}


@contextmanager
def stop_after_step():
    """Turn Ctrl-C and SIGTERM into a request to stop after the running step; a second one interrupts at once."""
    asked: list[int] = []

    def ask(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        tqdm.write("stopping after this step (again: at once, losing what the last checkpoint does not hold)")

    try:
        kept = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
