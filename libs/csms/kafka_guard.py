"""A test broker that asks who is there: users and passwords, TLS, certificates, and rights for all that they do.

It listens on three ports, one for each way to be spoken to safely, and grants nobody but `ADMIN` anything.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ocppcore.kafka.security import Security

ADMIN: Final = "admin"
MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
LISTENERS: Final = {"CLIENTS": "SASL_PLAINTEXT", "TLS": "SASL_SSL", "MUTUAL": "SSL", "CONTROLLER": "SASL_PLAINTEXT"}
"""`CLIENTS` takes PLAIN and SCRAM, `TLS` SCRAM, `MUTUAL` certificates: who shows one is called by its subject."""


@dataclass(frozen=True)
class Guard:
    """`users`: names whose passwords are made here. `own`: the broker's key and chain in one PEM file, for `localhost`.

    `authorities`: those of clients' certificates, PEM.
    """

    users: Sequence[str]
    own: Path
    authorities: Path
    passwords: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passwords", {name: secrets.token_hex(12) for name in (ADMIN, *self.users)})

    def user(self, name: str, mechanism: str = "SCRAM-SHA-512") -> Security:
        """This user as a client without TLS."""
        return Security("SASL_PLAINTEXT", mechanism, name, self.passwords[name])

    def addresses(self, ports: Sequence[int]) -> dict[str, str]:
        """Protocol -> `host:port`; `ports` as `LISTENERS` are named, without the controller's."""
        return {LISTENERS[name]: f"{_host(name)}:{port}" for name, port in zip(LISTENERS, ports, strict=False)}

    def scram(self) -> list[str]:
        """Arguments with which the storage is formatted: it knows all users from the start."""
        return [
            f"--add-scram={mechanism}=[name={name},password={password}]"
            for name, password in self.passwords.items()
            for mechanism in MECHANISMS
        ]

    def properties(self, ports: Sequence[int]) -> dict[str, str]:
        """What replaces a plain broker's settings; `ports` as `LISTENERS` are named."""
        at = dict(zip(LISTENERS, ports, strict=True))
        login = f'{_PLAIN} username="{ADMIN}" password="{self.passwords[ADMIN]}"'
        plain = " ".join([login, *(f'user_{name}="{password}"' for name, password in self.passwords.items())]) + ";"
        return {
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in at.items()),
            "advertised.listeners": ",".join(f"{name}://{_host(name)}:{port}" for name, port in at.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items()),
            "inter.broker.listener.name": "CLIENTS",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": plain,
            "listener.name.clients.sasl.enabled.mechanisms": ",".join(("PLAIN", *MECHANISMS)),
            "listener.name.clients.plain.sasl.jaas.config": plain,
            **{f"listener.name.clients.{each.lower()}.sasl.jaas.config": _SCRAM for each in MECHANISMS},
            "listener.name.tls.sasl.enabled.mechanisms": MECHANISMS[-1],
            f"listener.name.tls.{MECHANISMS[-1].lower()}.sasl.jaas.config": _SCRAM,
            "listener.name.mutual.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.own),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authorities),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN}",
        }


def _host(listener: str) -> str:
    """The name that certificates are for, where there are any."""
    return "localhost" if "SSL" in LISTENERS[listener] else "127.0.0.1"
