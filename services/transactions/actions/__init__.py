"""One module per action that stations send to this service; ROUTES is how the engine finds them."""

from collections.abc import Mapping
from typing import Any

from ocppcore.service import ActionHandler
from services.transactions.actions import meter_values, reservation_status_update
from services.transactions.actions.transaction_event import TransactionEvents


def routes(transaction_events: TransactionEvents) -> Mapping[str, ActionHandler[Any]]:
    """Action name -> handler."""
    return {
        "TransactionEvent": transaction_events.handler(),
        "MeterValues": meter_values.HANDLER,
        "ReservationStatusUpdate": reservation_status_update.HANDLER,
    }
