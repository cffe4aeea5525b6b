"""When too many rollouts get no usable number from the teacher, the run stops instead of training on the rest."""

from collections import deque
from collections.abc import Mapping

from ..errors import RunStopped, counted

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
