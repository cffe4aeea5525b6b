"""The table at the end of a test run: which faults were injected, how many were survived, how many numbers were wrong.

Counts travel with pytest's reports, so that they arrive from the processes of pytest-xdist too.
"""

from contextlib import contextmanager
from dataclasses import dataclass

KEY = "faults"


@dataclass
class Fault:
    """Some faults of one kind; a test may lower `survived`, and counts in `wrong_numbers` what came out wrong."""

    kind: str
    injected: int = 1
    survived: int = 0
    wrong_numbers: int = 0


class Faults:
    """What the fixture `faults` gives: a context manager a fault. A block that raises survived nothing."""

    def __init__(self, record_property):
        self._record = record_property

    @contextmanager
    def __call__(self, kind: str, injected: int = 1):
        fault = Fault(kind, injected, injected)
        try:
            yield fault
        except BaseException:
            fault.survived = 0
            raise
        finally:
            self._record(KEY, [fault.kind, fault.injected, fault.survived, fault.wrong_numbers])


def pytest_terminal_summary(terminalreporter):
    """Print the table, a line a kind of fault, where any test counted one."""
    rows: dict[str, list[int]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for key, value in report.user_properties:
                if key == KEY:
                    kind, *counts = value
                    rows[kind] = [a + b for a, b in zip(rows.get(kind, (0, 0, 0)), counts, strict=True)]
    if not rows:
        return
    total = [sum(column) for column in zip(*rows.values(), strict=True)]
    terminalreporter.section("trust")
    terminalreporter.write_line(f"{'fault':54}{'injected':>10}{'survived':>10}{'wrong numbers':>15}")
    for kind, counts in [*sorted(rows.items()), ("all", total)]:
        terminalreporter.write_line(
            f"{kind:54}" + "".join(f"{n:>{w},}" for n, w in zip(counts, (10, 10, 15), strict=True))
        )
