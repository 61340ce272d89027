"""Paths whose last part is an id that may hold a slash, or be empty: the schema takes any text for idTokens and
transactionIds, and what stations send must be reachable."""

from typing import Final

_WHOLE: Final = ":path}"


def template(path: str) -> str:
    """The path of a route as people write it: `/tokens/{type}/{idToken:path}` is `/tokens/{type}/{idToken}`."""
    return path.replace(_WHOLE, "}")
