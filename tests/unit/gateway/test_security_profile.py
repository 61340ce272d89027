"""Which security profile a station is served over, and what becomes of what it kept while it was not accepted."""

import pytest
from websockets.exceptions import InvalidStatus

from ocppcore.envelope import Refusal
from tests.unit.gateway.rig import Rig, listener, playing_services, running
from tests.unit.gateway.talk import Talk, call, reply
from tests.unit.gateway.test_ws import station, talk


@pytest.mark.requirement("A00.FR.001", "A00.FR.002", "A00.FR.004")
@pytest.mark.parametrize("expected", [2, 3])
async def test_a_station_of_another_profile_is_cut_before_it_can_say_anything(expected: int) -> None:
    rig, listening = Rig(), listener()
    await rig.register("CS1", security_profile=expected)
    async with running(rig.gateway("gw", listening)), playing_services(rig):
        with pytest.raises(InvalidStatus) as refused:
            async with station(listening.port):
                pass
        assert refused.value.response.status_code == 401
        assert [type(entry) for entry in rig.frames()] == [Refusal], "that it was refused, and nothing else"
        assert rig.changes() == []

        await rig.register("CS1", security_profile=1)
        async with station(listening.port) as socket:
            assert (await talk(socket, call("1")))[0] == 3
        assert [change.security_profile for change in rig.changes() if change.connected] == [1]


@pytest.mark.requirement("B02.FR.03")
def test_transactions_kept_while_pending_are_taken_once_the_station_is_accepted() -> None:
    talking = Talk("Pending")
    [(_, _, _, _, refused)] = talking.says(call("1", "TransactionEvent"))
    assert refused == "SecurityError"
    talking.acks()

    talking.boots("Accepted")

    assert talking.says(call("1", "TransactionEvent")) == [("transactions", "call", "1", "TransactionEvent", "")]
    assert talking.told(reply("1", "TransactionEvent")) == [("send", 3, "1")]
