"""Keys and passwords, which must reach no file, no log and no tracker."""

import re
from collections.abc import Iterable

# user:password@ in an address, or a key among its parameters.
CREDENTIALS = re.compile(
    r"(?<=://)[^/\s@]*@|(?<=[?&])((?:api[-_]?)?key|(?:access[-_]?)?token|password|secret)=[^&\s]*", re.I
)
SECRET_FLAG = re.compile(r"(--(?:[\w-]*[-_])?(?:key|token|password|secret))(=.*)?", re.I | re.S)
HIDDEN = "***"


def without_secrets(arguments: Iterable[str]) -> list[str]:
    """A command line to be recorded: values of --…-key, --…-token and the like hidden, and credentials in addresses."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        flag = SECRET_FLAG.fullmatch(argument)
        if hide_next and not argument.startswith("--"):
            shown.append(HIDDEN)
        elif flag and flag[2]:
            shown.append(f"{flag[1]}={HIDDEN}")
        else:
            shown.append(CREDENTIALS.sub(lambda found: HIDDEN + ("@" if found[0].endswith("@") else ""), argument))
        hide_next = bool(flag) and not flag[2]  # type: ignore[index]
    return shown
