"""`make torture`: the whole system as real processes on Kafka under load, `kill -9` at random of gateways, services,
broker and PostgreSQL, and then a search for anything lost, doubled or left over.

`plan` says who is killed when (from a seed), `victims` kills and starts again, `load` plays the stations, `balancer`
stands between them and the gateways, `evidence` collects what is left, `judge` compares (pure), `run` does it all.
"""
