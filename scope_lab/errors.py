"""The two exceptions that a user should read, not debug."""


class InputError(ValueError):
    """One clear line: the setting or file, what was found, what is accepted. `scope-lab` prints it, exit code 2."""


class RunStopped(RuntimeError):
    """A run that cannot go on: why, and what is safe, in one line. `scope-lab` prints it, exit code 1."""
