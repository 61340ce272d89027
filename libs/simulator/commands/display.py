"""Display messages (block O), customer information (N09, N10) and data transfer (block P)."""

from typing import TYPE_CHECKING

from ..frames import Json, rfc3339
from ..inputs import IdToken
from .answer import Answer, book, parts, status

if TYPE_CHECKING:
    from ..station import Station

DATA_CHARACTERS = 512


def set_display_message(station: "Station", request: Json) -> Answer:
    """O01, O02, O06."""
    message = request["message"]
    shown = book(station, "messages")
    if message["message"]["format"] not in station.model.text("DisplayMessageCtrlr", "SupportedFormats"):
        return status("NotSupportedMessageFormat")
    transaction_id = message.get("transactionId")
    running = {e.transaction.id for e in station.evses if e.transaction is not None}
    if transaction_id is not None and transaction_id not in running:
        return status("UnknownTransaction")
    limit = station.model.integer("DisplayMessageCtrlr", "DisplayMessages")
    if message["id"] not in shown and len(shown) >= limit:
        return status("Rejected", "TooManyElements")
    shown[int(message["id"])] = message
    return status("Accepted")


def get_display_messages(station: "Station", request: Json) -> Answer:
    """O03, O04."""
    request_id, ids = int(request["requestId"]), request.get("id")
    found = [
        m
        for m in book(station, "messages").values()
        if (ids is None or m["id"] in ids)
        and request.get("priority") in (None, m["priority"])
        and request.get("state") in (None, m.get("state"))
    ]
    if not found:
        return status("Unknown")
    return status("Accepted", then=lambda: _notify(station, request_id, found))


def _notify(station: "Station", request_id: int, found: list[Json]) -> None:
    for _, more, part in parts(found):
        payload: Json = {"requestId": request_id, "tbc": more, "messageInfo": part}
        station.send("NotifyDisplayMessages", payload)


def clear_display_message(station: "Station", request: Json) -> Answer:
    """O05."""
    found = book(station, "messages").pop(int(request["id"]), None)
    return status("Unknown" if found is None else "Accepted")


def customer_information(station: "Station", request: Json) -> Answer:
    """N09, N10: what is known of an idToken is its entry in the cache."""
    given = [request[n] for n in ("idToken", "customerCertificate", "customerIdentifier") if n in request]
    if len(given) != 1 and (request["report"] or request["clear"]):
        return status("Invalid")
    wire = request.get("idToken")
    token = IdToken(wire["idToken"], wire["type"]) if wire else None
    known = station.desk.known
    info = known.lookup(token, station.now, use_list=False, use_cache=True) if token else None
    text = f"cached: {info['status']}" if info else ""

    def carry_out() -> None:
        if request["report"]:
            _notify_customer(station, int(request["requestId"]), text)
        if request["clear"] and token is not None:
            known.forget(token)

    return status("Accepted", then=carry_out)


def _notify_customer(station: "Station", request_id: int, text: str) -> None:
    pieces = [text[i : i + DATA_CHARACTERS] for i in range(0, len(text), DATA_CHARACTERS)] or [""]
    for seq_no, piece in enumerate(pieces):
        payload: Json = {
            "data": piece,
            "tbc": seq_no + 1 < len(pieces),
            "seqNo": seq_no,
            "generatedAt": rfc3339(station.now),
            "requestId": request_id,
        }
        station.send("NotifyCustomerInformation", payload)


def data_transfer(_station: "Station", _request: Json) -> Answer:
    """P01: this station knows no vendor's messages (P01.FR.05)."""
    return status("UnknownVendorId")
