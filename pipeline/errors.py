"""What goes wrong with a source and needs a person."""


class SourceError(Exception):
    """A source cannot be read as it is configured; the message says what to change."""


class BucketError(SourceError):
    """A bucket does not answer, or refuses: no verdict on a file in it, so nothing is written down about one."""
