"""TransactionEvent payloads for tests."""

from typing import Any


def event(
    kind: str,
    seq_no: int,
    *,
    transaction: str = "T1",
    wh: float | None = None,
    context: str | None = None,
    at: str = "2026-01-01T10:00:00Z",
    trigger: str = "MeterValuePeriodic",
    token: str | None = None,
    info: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A valid payload; `wh`: one energy register reading."""
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": trigger,
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": transaction, **(info or {})},
        **more,
    }
    if token is not None:
        payload["idToken"] = {"idToken": token, "type": "ISO14443"}
    if wh is not None:
        sample: dict[str, Any] = {"value": wh, "measurand": "Energy.Active.Import.Register"}
        if context:
            sample["context"] = context
        payload["meterValue"] = [{"timestamp": at, "sampledValue": [sample]}]
    return payload
