"""The one exception that reaches the reader as a single line and exit status 2."""


class UserError(Exception):
    """A mistake the reader can mend; the message names the file or key and the cure."""
