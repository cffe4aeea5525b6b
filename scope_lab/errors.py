"""The one exception that means a user's mistake."""


class InputError(ValueError):
    """One clear line: the setting or file, what was found, what is accepted. The command line prints it and exits with 2."""
