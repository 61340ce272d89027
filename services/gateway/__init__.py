"""The gateway: holds the WebSockets of Charging Stations, and nothing else. No database, no domain rule.

Every frame that a station sends is appended to the log before anything answers it: to `ocpp.frames.<service>` of the
service that owns its action. Replies and commands come back on the gateway's own partition of `ocpp.outbound`, its
slot, claimed in `ocpp.gateways`. Connections come and go in `ocpp.connections`; credentials and registration states
are an in-memory copy of `device.stations`.

The one protocol rule that lives here is the registration gate (B01.FR.10, B02.FR.09, B03.FR.07).
"""
