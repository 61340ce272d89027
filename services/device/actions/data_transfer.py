"""DataTransfer (P02): no vendor's extension is known here, so every vendorId is unknown (P02.FR.06)."""

import msgspec
from pydantic import MISSING

from ocppcore.contracts.device import DataTransferRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import DataTransferRequest, DataTransferResponse


def on_data_transfer(request: DataTransferRequest, view: View, context: Context) -> Outcome:
    known = {"vendorId": request.vendorId}
    if request.messageId is not MISSING:
        known["messageId"] = request.messageId
    heard = DataTransferRefused(
        at=context.now, station=context.identity, payload=msgspec.Raw(msgspec.json.encode(known))
    )
    return Outcome((heard,), reply=DataTransferResponse(status="UnknownVendorId"))


ROUTE = ActionHandler(DataTransferRequest, on_data_transfer)
