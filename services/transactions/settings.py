"""Settings of the transactions service."""

from decimal import Decimal

from pydantic import Field

from ocppcore.settings import BaseServiceSettings, service_config
from services.transactions.domain.cost import Costs


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

    @property
    def costs(self) -> Costs:
        """As decisions take them."""
        return Costs(self.zone, self.cost_update_s, self.cost_update_step, self.credit_step)
