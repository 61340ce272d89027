"""device: the registry of stations and what they say of themselves.

Blocks A01, A04, A05, B, F05, F06, G, L, N, O, P; station credentials and security profiles. Reads
`ocpp.frames.device`, `ocpp.connections` and `device.requests`; writes `device.events`, the state records
`device.stations`, and `ocpp.outbound`.
"""
