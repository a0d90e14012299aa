"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake in the input, the configuration or the machine's state.

    The message is one line: it names the culprit and says what to do. The command line prints it without a
    traceback and exits with status 1.
    """
