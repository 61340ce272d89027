"""Settings of the transactions service."""

from decimal import Decimal
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from ocppcore.settings import BaseServiceSettings, service_config
from services.transactions.domain.cost import Costs


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not the name of an IANA time zone")
    return name


class Settings(BaseServiceSettings):
    """Beside those that all services share."""

    model_config = service_config("transactions")

    zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="IANA time zone of stations that name none, for tariffs by time of day"
    )
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

    @property
    def costs(self) -> Costs:
        """As decisions take them."""
        return Costs(self.zone, self.cost_update_s, self.cost_update_step)
