"""When a run stops by itself, with one line, instead of learning from too little or from nothing. RunStopped.

The engine's limit, on how far its log-probs may be from the student's, is in engines/canary.py.
"""

from collections import Counter, deque
from collections.abc import Mapping

from .errors import RunStopped, counted
from .rollouts import Rollouts
from .tasks import Verdict

STEPS = 10  # over which failures are counted
FEWEST = 30  # a share of fewer rollouts than these says little: they count as so many


class FailureLimit:
    """Counts rollouts that were asked about and that failed; `share` of the last ten steps' is the most accepted."""

    def __init__(self, share: float):
        self.share = share
        self.steps: deque[tuple[int, int]] = deque(maxlen=STEPS)

    def count(self, asked: int, failed: int, faults: Mapping[str, int] | None = None) -> None:
        """One step's rollouts. faults: the teacher's own counts by kind, for the message.

        Raises RunStopped where more than `share` of the last ten steps' rollouts failed (of 30 at least).
        """
        self.steps.append((asked, failed))
        asked, failed = (sum(counts) for counts in zip(*self.steps, strict=True))
        if failed > self.share * max(asked, FEWEST):
            why = f" ({counted(faults)})" if faults else ""
            raise RunStopped(
                f"teacher: {failed} of {asked} rollouts of the last {len(self.steps)} steps got no usable number{why}, "
                f"accepted {self.share:.0%} (teacher_failure_limit)"
            )


def verdicts_given(rollouts: Rollouts) -> Counter[str]:
    """Of the rollouts that ended, which are what the verifier saw: how many have no verdict by reason, "" for one."""
    judged = zip(rollouts.verifications, rollouts.finish_reason, strict=True)
    return Counter(v.reason if v.verdict == Verdict.UNKNOWN else "" for v, end in judged if end != "length")


class VerdictLimit:
    """Stops a run whose verifier is broken: where it says nothing, nothing is learned, and every score is 0.

    task  its name, which names the verifier too
    """

    def __init__(self, task: str):
        self.task = task
        self.silent: Counter[str] = Counter()

    def count(self, given: Counter[str]) -> None:
        """One step's `verdicts_given`. Raises RunStopped where none of the last rollouts, 30 at least, got one."""
        self.silent = Counter() if given[""] else self.silent + given
        if self.silent.total() >= FEWEST:
            n, reasons = self.silent.total(), counted(self.silent)
            raise RunStopped(f"verifier: {self.task} gave a verdict on none of {n} rollouts ({reasons}), accepted some")


def check_updates(history: list[dict], limit: int, run: str | None) -> None:
    """Raises RunStopped where each of the last `limit` steps left out an update. run: the folder that holds batches."""
    if len(history) >= limit and all(metrics["skipped_updates"] for metrics in history[-limit:]):
        where = f"; {run}/skipped holds batches, `scope-lab inspect` reads them" if run else ""
        raise RunStopped(f"skipped_limit: loss or gradient was not finite in {limit} steps in a row{where}")
