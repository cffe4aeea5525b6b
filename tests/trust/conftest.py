"""Faults on purpose: what is killed, broken, poisoned or malicious here must cost nothing and change no number."""

import pytest
from fault_table import Faults


@pytest.fixture
def faults(record_property) -> Faults:
    """Counts a test's faults for the table at the end of the run.

        with faults("teacher: refused", injected=100) as fault:
            ...                               # inject them; an exception here says that none was survived
            fault.wrong_numbers = int(wrong)  # numbers that should not have come through; then assert it is 0

    `kind` is the table's line ("subject: fault"); lines of one kind add up, over tests and processes. Longer tests are
    marked `trust_long`: `make test` leaves them out, `make test-trust` runs them.
    """
    return Faults(record_property)
