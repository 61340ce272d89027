"""Which services there are, and how each is built in a process."""

from collections.abc import Callable, Mapping

import structlog

from ocppcore.host import Environment, Hosted
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Service
from ocppcore.settings import Keys, read
from services.auth import app as auth
from services.auth import service as auth_service
from services.auth.settings import Settings as AuthSettings
from services.device import app as device
from services.device import service as device_service
from services.device.settings import Settings as DeviceSettings
from services.gateway import app as gateway
from services.gateway.settings import Settings as GatewaySettings
from services.gateway.settings import closed
from services.smartcharging import app as smartcharging
from services.smartcharging import service as smartcharging_service
from services.transactions import app as transactions
from services.transactions import service as transactions_service
from services.transactions.settings import Settings as TransactionsSettings

log = structlog.get_logger(__name__)

GATEWAY = "gateway"


def _auth(env: Environment) -> Hosted:
    settings = read(AuthSettings)
    warn(settings, read(GatewaySettings))
    return auth.build(env, settings)


def warn(settings: AuthSettings, gateway: GatewaySettings) -> None:
    """Say where what auth has signed would not open the gateway's door (A00.FR.404), as far as this process knows."""
    trusted = gateway.organizations
    if settings.organization and trusted and settings.organization not in trusted:
        log.warning(
            "CSMS_AUTH_ORGANIZATION is none of CSMS_OCPP_ORGANIZATIONS: gateways refuse what is signed under it",
            organization=settings.organization,
            trusted=trusted,
        )


def _transactions(env: Environment) -> Hosted:
    settings = read(TransactionsSettings)
    return transactions.build(env, read(AuthSettings).rules, settings.costs, settings.periods)


HOSTS: Mapping[str, Callable[[Environment], Hosted]] = {
    "device": lambda env: device.build(env, read(DeviceSettings)),
    "auth": _auth,
    "transactions": _transactions,
    "smartcharging": smartcharging.build,
}
NAMES = (*HOSTS, GATEWAY)


def build(name: str, env: Environment) -> Hosted:
    """A domain service by its name."""
    return HOSTS[name](env)


def gateway_settings() -> GatewaySettings:
    """The gateway's own. Raises SettingsError where client certificates of any organisation would open its door.

    The organisation that auth signs under is the one that counts where no other is named, as far as this process knows.
    """
    signing = read(AuthSettings)
    return closed(read(GatewaySettings), signing.organization, signing.authority not in ("none", "local"))


def build_gateway(env: Environment) -> gateway.Built:
    """The gateway with its own settings. Raises SettingsError."""
    return gateway.build(env, gateway_settings())


def _auth_service(pseudonyms: Pseudonyms, settings: AuthSettings) -> Service:
    return auth_service.build(pseudonyms, settings.rules, guessing=settings.guessing)


def definition(name: str, keys: Keys) -> Service:
    """A domain service as data, for rebuild, recover and the simulation: no process, no API."""
    pseudonyms = Pseudonyms(keys.pseudonym)
    made: Mapping[str, Callable[[], Service]] = {
        "device": device_service.build,
        "auth": lambda: _auth_service(pseudonyms, read(AuthSettings)),
        "transactions": lambda: transactions_service.build(pseudonyms, read(AuthSettings).rules),
        "smartcharging": smartcharging_service.build,
    }
    return made[name]()
