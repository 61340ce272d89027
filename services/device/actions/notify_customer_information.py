"""NotifyCustomerInformation (N09): that it came is kept, never what it says about a person."""

import msgspec

from ocppcore import results
from ocppcore.contracts.device import CustomerInformationReceived
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyCustomerInformationRequest, NotifyCustomerInformationResponse


def on_notify_customer_information(request: NotifyCustomerInformationRequest, view: View, context: Context) -> Outcome:
    known = {"requestId": request.requestId, "seqNo": request.seqNo, "tbc": request.tbc is True}
    whose = results.origin("NotifyCustomerInformation", request.requestId, view, context)
    heard = CustomerInformationReceived(
        at=context.now,
        station=context.identity,
        payload=msgspec.Raw(msgspec.json.encode(known)),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=NotifyCustomerInformationResponse())


ROUTE = ActionHandler(NotifyCustomerInformationRequest, on_notify_customer_information, needs=results.needs)
