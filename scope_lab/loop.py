"""What every long loop needs: seconds by stage, and an end that loses nothing."""

import signal
import time
from collections.abc import Callable
from contextlib import contextmanager

import torch
from tqdm import tqdm


class Stopwatch:
    """Seconds of each stage, and of all."""

    def __init__(self):
        self.started = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """What passed since the last lap was this stage's; a stage may come several times."""
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()  # not all streams: a teacher may be at work on another
        now = time.perf_counter()
        self.laps[stage], self.last = self.laps.get(stage, 0.0) + now - self.last, now

    def move(self, seconds: float, stage: str, to: str) -> None:
        """Of a stage's seconds some were another's."""
        self.laps[stage] = self.laps.get(stage, 0.0) - seconds
        self.laps[to] = self.laps.get(to, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        return {**{f"seconds_{stage}": s for stage, s in self.laps.items()}, "seconds": self.last - self.started}


@contextmanager
def stop_after_step(agree: Callable[[bool], bool] = bool):
    """Turn Ctrl-C and SIGTERM into a request to stop after the running step; a second one interrupts at once.

    agree  of several processes: whether any was asked (scope_lab.distributed.Ranks.any). A launcher hands on a signal
           that the terminal has sent them too, so that another one within a second is an echo
    """
    asked: list[float] = []

    def ask(number, frame):
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > 1:
            raise KeyboardInterrupt
        if len(asked) == 1:
            tqdm.write("stopping after this step (again: at once, losing what the last checkpoint does not hold)")

    try:
        kept = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: agree(bool(asked))
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
