"""The one exception that means a user's mistake."""


class InputError(ValueError):
    """One clear line: the setting or file, what was found, what is accepted. `scope-lab` prints it, exit code 2."""
