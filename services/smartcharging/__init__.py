"""smartcharging: charging limits, profiles and schedules (block K).

Reads `ocpp.frames.smartcharging`, `ocpp.connections` and `smartcharging.requests`; writes `smartcharging.events` and
`ocpp.outbound`.
"""
