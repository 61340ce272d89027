"""Settings of the transactions service."""

from decimal import Decimal

from pydantic import Field

from ocppcore.settings import BaseServiceSettings, service_config
from services.transactions.domain.cost import Costs
from services.transactions.domain.periods import Periods


class Settings(BaseServiceSettings):
    """Beside those that all services share."""

    model_config = service_config("transactions")

    cost_update_s: int = Field(
        900,
        ge=0,
        le=86400,
        description="Seconds after which a station that sends no meter values on the way is sent the running cost "
        "(CostUpdated), again and again; 0: never",
    )
    cost_update_step: Decimal = Field(
        Decimal("0.01"), ge=0, le=1000, description="Only where it has grown by this much, in the tariff's currency"
    )

    credit_step: Decimal = Field(
        Decimal("1.00"),
        ge=0,
        le=1000,
        description="A driver's credit is told what a transaction costs whenever that has grown by this much, in the "
        "tariff's currency, when it uses up what there was at the start, and at the end",
    )

    end_grace_s: int = Field(
        60,
        ge=0,
        le=86400,
        description="Seconds that the end of a transaction may be on its way when a boot, an Available connector or "
        "another transaction there shows that it should have come; then the station is asked",
    )
    reconcile_s: int = Field(
        72 * 3600,
        ge=60,
        le=90 * 86400,
        description="Seconds that a station may be away until what it would have said of its transactions is concluded "
        "without it",
    )
    bill_wait_s: int = Field(
        72 * 3600,
        ge=60,
        le=90 * 86400,
        description="Seconds since the last news of an ended transaction that is not whole, after which it is billed "
        "as it is known; a whole one is billed at once",
    )

    @property
    def periods(self) -> Periods:
        """As decisions take them."""
        return Periods(self.end_grace_s * 1000, self.reconcile_s * 1000, self.bill_wait_s * 1000)

    @property
    def costs(self) -> Costs:
        """As decisions take them."""
        return Costs(self.zone, self.cost_update_s, self.cost_update_step, self.credit_step)
