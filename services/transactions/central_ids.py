"""Ids that the CSMS itself gives to remote starts (idTokens of type Central): for a driver who has no token here.

auth registers them like any other token, for one station and for a day: the station asks about them, or names them in
its TransactionEvents, as it does about all others. The start is sent once auth has answered and this service knows.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ocppcore import topics
from ocppcore.authorization import CENTRAL, Group, TokenState
from ocppcore.clock import Clock
from ocppcore.contracts.auth import IssueToken
from ocppcore.engine.copies import Copies, NotCaughtUp
from ocppcore.envelope import Request, request_record
from ocppcore.http.problems import Problem
from ocppcore.log import Log
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Lookup
from ocppcore.store import CopyRow

PREFIX: Final = "CSMS-"
RANDOM_BYTES: Final = 12
VALID_MS: Final = 24 * 3600 * 1000
KNOWN_WITHIN_S: Final = 5.0
LOOK_AGAIN_S: Final = 0.02

Issue = Callable[[str, Group | None, str], Awaitable[str]]
"""(station, group, who asked) -> the id. Raises Problem 503 when it is not known in time."""


def issuing(log: Log, copies: Copies, clock: Clock, pseudonyms: Pseudonyms, partitions: int) -> Issue:
    """Ids that are in force in this service, and on the log for auth, when they are given."""

    async def issue(station: str, group: Group | None, actor: str) -> str:
        value = PREFIX + secrets.token_hex(RANDOM_BYTES).upper()
        pseudonym, now = pseudonyms.of(CENTRAL, value), clock()
        state = TokenState(
            type=CENTRAL, status="Accepted", stations=(station,), valid_to=now + VALID_MS, group=group, issued=True
        )
        body = msgspec.json.encode(IssueToken(state=state))
        request = Request(f"issue/{pseudonym}", IssueToken.NAME, pseudonym, body, now, "/transactions", actor, "", "")
        await log.append([request_record(request, "auth", partitions)])
        try:
            async with asyncio.timeout(KNOWN_WITHIN_S):
                await _known(copies, (topics.TOKENS, pseudonym))
        except (TimeoutError, NotCaughtUp):
            raise Problem(503, "An id for this start could not be registered in time: nothing was sent.") from None
        return value

    return issue


async def _known(copies: Copies, lookup: Lookup) -> CopyRow:
    while (row := (await copies.find([lookup]))[lookup]) is None:  # noqa: ASYNC110  a copy tells nobody of one key
        await asyncio.sleep(LOOK_AGAIN_S)
    return row
