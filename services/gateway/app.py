"""Wiring: the one place that imports everything of the gateway and builds it."""

import os
import random
import secrets
import socket
from collections.abc import Sequence
from typing import NamedTuple

from ocppcore import telemetry
from ocppcore.clock import Clock
from ocppcore.host import Environment, Hosted
from ocppcore.http.app import service_app
from ocppcore.log import Log
from ocppcore.seal import Seal
from services.gateway.api import router
from services.gateway.frames import Frames
from services.gateway.gateway import Gateway, Listener, Trust
from services.gateway.metrics import StatsCollector
from services.gateway.passwords import Passwords
from services.gateway.settings import Settings, closed, listener, numbers, tls_files
from services.gateway.tls import Tls
from services.gateway.ws import WsListener


def new_trace() -> str:
    """A `traceparent` for a frame that just came in, "" for most."""
    with telemetry.span("frame received", root=True) as traceparent:
        return traceparent


class Built(NamedTuple):
    """A gateway in this process. Run `hosted.run`; to stop well, await `gateway.drain()` and then the run."""

    gateway: Gateway
    hosted: Hosted


def build(env: Environment, settings: Settings, bound: socket.socket | None = None) -> Built:
    """The gateway with its listeners and its API. `bound`: a socket that listens already, for the one without TLS.

    Raises SettingsError where certificates cannot be read, or would count whoever is named in them (`closed`).
    """
    settings = closed(settings)
    files = tls_files(settings)
    tls = Tls(files) if files else None
    listeners = [WsListener(listener(settings), bound)]
    if tls is not None:
        listeners.append(WsListener(listener(settings, tls=True), tls=tls))
    gateway = make(
        env.log,
        settings,
        env.clock,
        password_key=env.keys.password,
        seal=env.outbound_seal,
        listeners=listeners,
        trust=tls,
    )
    if tls is not None:
        gateway.stats.gauges["certificate_expires_in_seconds"] = lambda: (tls.expires_at - env.clock()) / 1000
    env.in_force.followers.append(gateway.followed)
    env.registry.register(StatsCollector(gateway.stats))
    frames = Frames(env.log, settings.partition_count, settings.slots, settings.scan_records_max)
    app = service_app(
        "gateway",
        [router],
        authenticator=env.authenticator,
        writes=None,
        body_bytes_max=settings.http_body_bytes_max,
        description="Connections of Charging Stations and the frames that go over them.",
        state={"gateway": gateway, "frames": frames, "clock": env.clock},
    )
    return Built(gateway, Hosted("gateway", app, gateway.run, lambda: gateway.not_ready() is None))


def make(
    log: Log,
    settings: Settings,
    clock: Clock,
    *,
    password_key: bytes,
    seal: Seal,
    listeners: Sequence[Listener] = (),
    trust: Trust | None = None,
    name: str = "",
    chance: random.Random | None = None,
) -> Gateway:
    """A gateway alone; without listeners sessions come by `admit` and `connect`. Call inside a running event loop.

    `seal` opens the frames that the services sealed. `name` tells gateways apart (default: one of its own).
    """
    passwords = Passwords(
        password_key,
        threads=settings.password_threads,
        waiting_max=settings.password_checks_max,
        remembered_max=settings.passwords_remembered_max,
    )
    return Gateway(
        log,
        numbers(settings),
        clock,
        passwords,
        seal,
        name or f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        listeners=listeners,
        trust=trust,
        chance=chance,
        new_trace=new_trace,
    )
