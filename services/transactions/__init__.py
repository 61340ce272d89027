"""Transactions: blocks E, F01-F04, H, I and J; 9 actions.

Reads `ocpp.frames.transactions`, `transactions.requests`, `ocpp.connections` and keeps copies of `device.stations`,
`auth.tokens` and `auth.apikeys`. Writes `transactions.events`, `transactions.meter` and `ocpp.outbound`.
"""
