"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake in the input, the configuration or the machine's state.

    The message is one line: it names the culprit and says what to do. The command line prints it without a
    traceback and exits with status 1.
    """


class NotHere(UserError):
    """An image, file or program of another method that is not on this machine; the rest goes on."""
