"""How a cluster is reached: connecting with bounded patience, and stopping clients that may not want to stop."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiokafka.conn import collect_hosts, create_conn  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from ocppcore.kafka.security import PLAINTEXT, Security
from ocppcore.log import LogUnavailable

REQUEST_TIMEOUT_MS = 20_000
"""A request unanswered for so long is sent again on a new connection."""

RETRY_S = 0.25
STOP_S = 10.0

NOT_ADMITTED = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    ssl.SSLCertVerificationError,
)
"""What waiting does not mend: we do not know the broker, or it does not know us."""

NOT_ALLOWED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
"""We are known, and may not do this."""

ACLS_ARE_PRINTED = "grant what `csms acls` prints (or let `csms acls --apply` do it)"

logger = logging.getLogger(__name__)


class Client(Protocol):
    """What aiokafka's producer and consumer have in common."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


C = TypeVar("C", bound=Client)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`bootstrap`: `host:port`, several separated by commas. `patience_s`: how long an outage is waited out."""

    bootstrap: str
    patience_s: float
    security: Security = PLAINTEXT

    def options(self) -> dict[str, Any]:
        """The arguments that every aiokafka client gets."""
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            **self.security.options(),
        }

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt again until it succeeds. Raises LogUnavailable when patience ends, at once if we are not let in."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience_s
        while True:
            try:
                async with asyncio.timeout_at(end):
                    return await attempt()
            except (KafkaError, OSError) as error:
                if (refusal := await self._refusal(error)) is not None:
                    raise self.unavailable(refusal) from refusal
                if loop.time() + RETRY_S >= end:
                    raise self.unavailable(error) from error
            await asyncio.sleep(RETRY_S)

    async def _refusal(self, error: BaseException) -> BaseException | None:
        """Why we are not let in, if that is it: of a client that could not start aiokafka tells only its logger."""
        if self.security.protocol == "PLAINTEXT" or not isinstance(error, KafkaConnectionError):
            return None
        options = self.options()
        for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
            try:
                (await create_conn(host, port, **options)).close()
            except NOT_ADMITTED as refusal:
                return refusal
            except (KafkaError, OSError):
                continue
        return None

    async def connect(self, make: Callable[[], C]) -> C:
        """Make and start a client, patiently. Raises LogUnavailable."""

        async def attempt() -> C:
            client = make()
            try:
                await client.start()
            except BaseException:
                await stop(client)
                raise
            return client

        return await self.patiently(attempt)

    def unavailable(self, error: BaseException | str) -> LogUnavailable:
        text, kind = str(error), type(error).__name__
        reason = text if isinstance(error, str) or kind in text else f"{kind} {text}".strip()
        advice = "" if isinstance(error, str) else self._advice(error)
        return LogUnavailable(f"Kafka at {self.bootstrap}: {reason}{advice}")

    def _advice(self, error: BaseException) -> str:
        """What a person can do about it, where it is not just away."""
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    ". KAFKA_SSL_CA_FILE must hold the authority that signed the brokers' certificates, and these must "
                    "be for the names in KAFKA_BOOTSTRAP_SERVERS and in the brokers' advertised.listeners"
                )
            case UnsupportedSaslMechanismError():
                return ". Set KAFKA_SASL_MECHANISM to one that the brokers have enabled"
            case AuthenticationFailedError() | SaslAuthenticationFailed():
                return (
                    f". The brokers do not take KAFKA_SASL_USERNAME {self.security.user} with this KAFKA_SASL_PASSWORD"
                )
            case _ if isinstance(error, NOT_ALLOWED):
                return f". The user {self.security.shown} has not the right: {ACLS_ARE_PRINTED}"
            case KafkaConnectionError():
                return (
                    f". If brokers are up there, see whether the port speaks {self.security.protocol} "
                    "(KAFKA_SECURITY_PROTOCOL)"
                )
        return ""


async def stop(client: Client) -> None:
    """Stop a client, for at most `STOP_S`; one whose broker is gone is left to the garbage collector."""
    try:
        async with asyncio.timeout(STOP_S):
            await client.stop()
    except (KafkaError, OSError) as error:
        logger.warning("a Kafka client did not stop cleanly: %r", error)
        # aiokafka's consumer raises what its group refused before it closes its connections.
        inner = getattr(client, "_client", None)
        if inner is not None:
            await inner.close()
