"""The part every service shares: OCPP-J codec and types, tables of actions and topics, the log, the engine."""
