"""MeterValues outside of transactions."""

import pytest

from ocppcore.contracts.transactions import MeterValuesReceived
from ocppcore.pseudonym import Pseudonyms
from services.transactions.service import parts
from tests.support.given import World


@pytest.mark.requirement("J01.FR.18")
def test_they_are_kept_as_sent_and_acknowledged() -> None:
    world = World("transactions", parts(Pseudonyms(b"k")))
    values = [{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": [{"value": 1.0, "measurand": "Frequency"}]}]
    outcome = world.call("MeterValues", {"evseId": 3, "meterValue": values})
    (event,) = outcome.events
    assert isinstance(event, MeterValuesReceived)
    assert (event.evse_id, event.transaction_id, event.STREAM) == (3, "", "meter")
    assert outcome.reply is not None
