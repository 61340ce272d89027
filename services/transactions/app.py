"""Wiring of the transactions service."""

from ocppcore.authorization import Rules
from ocppcore.host import Environment, Hosted, host
from services.transactions import service
from services.transactions.api import router


def build(env: Environment, rules: Rules) -> Hosted:
    """The service in this process; the rules about idTokens are auth's settings."""
    made = service.build(env.pseudonyms, rules)
    return host(env, made, lambda _, store, desk: [router(store, desk, env.pseudonyms)])
