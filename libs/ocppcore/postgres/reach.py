"""How log and store see the server: what a lost one looks like, and how soon it notices a client that vanished."""

from typing import Any

import asyncpg  # type: ignore[import-untyped]

import ocppcore.postgres.arrays  # noqa: F401

Connection = Any

UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a lost, refusing, full or hanging server looks like from here."""

KEEPALIVES = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""The server lets go of the locks of a process that vanished with its machine after 30 s."""


def describe(error: BaseException) -> str:
    """Without the statement's values."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
