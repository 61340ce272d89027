"""`python -m csms.bench`: what this machine carries, measured from outside on real processes.

Per log: calls a second and CPU per call at saturation, latency at a given load, connections and their memory, replay.
Beside it, in the same run, what the machine itself can do: a bare WebSocket server, a bare Kafka round trip.
"""
