"""What a station reads in the CSMS's answers and in its own events."""

from .frames import Json


def check_answer(action: str, request: Json, answer: Json) -> str | None:
    """What is wrong with a CALLRESULT's payload, as far as a station depends on it; None if nothing."""
    match action:
        case "BootNotification":
            needed = {"currentTime", "interval", "status"}
        case "Heartbeat":
            needed = {"currentTime"}
        case "Authorize":
            needed = {"idTokenInfo"}
        case "TransactionEvent" if "idToken" in request:
            needed = {"idTokenInfo"}  # E01.FR.12
        case _:
            needed = set()
    missing = needed - answer.keys()
    if missing:
        return f"the answer lacks {', '.join(sorted(missing))}"
    return None if "status" in answer.get("idTokenInfo", {"status": ""}) else "idTokenInfo lacks status"


def register_of(event: Json) -> float | None:
    """The energy register in Wh of a TransactionEventRequest, if it has one."""
    for meter_value in event.get("meterValue", []):
        for sample in meter_value["sampledValue"]:
            if sample.get("measurand") == "Energy.Active.Import.Register":
                return float(sample["value"])
    return None
