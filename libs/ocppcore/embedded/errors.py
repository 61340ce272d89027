"""What starting the embedded server may raise; every message says what to do."""

from ocppcore.errors import OperatorError


class EmbeddedPostgresError(OperatorError):
    """The embedded server could not be started or stopped."""


class DirectoryInUse(EmbeddedPostgresError):
    """Another process runs the server of this directory."""
