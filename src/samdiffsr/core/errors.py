"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake in the input, the configuration or the machine's state.

    The message is one line: it names the culprit and says what to do. The command line prints it without a
    traceback and exits with status 1.
    """


class NotHere(UserError):
    """An image, file or program of another method that is not on this machine; the rest goes on."""


def shown(name: object) -> str:
    """A file's name for a message: one line that any terminal prints, odd bytes and controls as escapes."""

    def escaped(c: str) -> str:
        if "\udc80" <= c <= "\udcff":  # a byte that is no UTF-8
            return f"\\x{ord(c) - 0xDC00:02x}"
        return c if c.isprintable() else c.encode("unicode_escape").decode()

    return "".join(map(escaped, str(name)))
