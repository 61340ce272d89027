"""auth: who may charge, and who may use the APIs.

Blocks A02, A03, C, D (local list), M; drivers, API keys, certificates. Reads `ocpp.frames.auth`, `ocpp.connections`,
`auth.requests` and, as copies, `auth.tokens` and `device.stations`; writes `auth.events`, the state records
`auth.tokens` and `auth.apikeys`, and `ocpp.outbound`.
"""
