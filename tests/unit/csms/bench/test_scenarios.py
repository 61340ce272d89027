"""What a benchmark must not pass over in silence."""

import pytest

from csms.bench.scenarios import require_costs
from simulator.load import LoadConfig, LoadError, drive
from tests.support.fake_csms import FakeCsms


async def test_a_load_under_a_tariff_fails_where_no_cost_is_told() -> None:
    async with FakeCsms() as csms:
        config = LoadConfig(url=csms.url, stations=2, duration_s=0.5, warmup_s=0.1, updates=1, priced=True)
        with pytest.raises(LoadError, match="answers under a tariff without totalCost"):
            require_costs(await drive(config))
        csms.answers["TransactionEvent"] = {"totalCost": 0.5, "idTokenInfo": {"status": "Accepted"}}
        require_costs(await drive(config))
        csms.delay_s = 1.0
        with pytest.raises(LoadError, match="no transaction"):
            require_costs(await drive(config))
