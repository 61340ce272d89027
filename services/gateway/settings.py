"""Settings of the gateway. `CSMS_OCPP_*` are fixed points that others' scripts rely on."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ocppcore.settings import BaseServiceSettings, Port, SettingsError, fixed, service_config
from services.gateway.domain.connection import Limits
from services.gateway.domain.limiter import Rate
from services.gateway.door import LOGGED, Rules
from services.gateway.gateway import Numbers
from services.gateway.ocsp import OcspRules
from services.gateway.tls import TlsFiles
from services.gateway.ws import WsSettings

SLOTS = 64
ANY: Final = "*"
"""Of `CSMS_OCPP_ORGANIZATIONS`: any organisation, switched on by name."""
UNNAMED: Final = (
    "CSMS_OCPP_ORGANIZATIONS is not set: it names the organisations (O) whose client certificates open the door, yours "
    "and whom you trust, with semicolons between them (A00.FR.404). Without it any certificate of {whose} with the "
    "common name of a station would. If you want that: CSMS_OCPP_ORGANIZATIONS=*"
)


def _pairs(text: str) -> str:
    for pair in _parts(text):
        if len(pair.split(":")) != 2:
            raise ValueError(f"{pair!r} is not CHAIN:KEY, the paths of a certificate chain and of its key")
    return text


CertificatePairs = Annotated[str, AfterValidator(_pairs)]


class Settings(BaseServiceSettings):
    """Read once, in `__main__.py` or by whoever runs several services in one process."""

    model_config = service_config("gateway")

    ocpp_host: str = fixed("CSMS_OCPP_HOST", "Address that stations connect to", default="0.0.0.0")
    ocpp_port: Port = fixed("CSMS_OCPP_PORT", "Port that stations connect to, without TLS", default=9000)
    ocpp_tls_port: Port = fixed(
        "CSMS_OCPP_TLS_PORT", "Port that stations connect to with TLS, once there are certificates", default=9443
    )
    ocpp_tls_certs: CertificatePairs = fixed(
        "CSMS_OCPP_TLS_CERTS",
        "The gateway's certificates, PEM files as `CHAIN:KEY`: one with an EC key, one with an RSA key, separated by a "
        "comma. Unset: no TLS",
        default="",
    )
    ocpp_client_cas: str = fixed(
        "CSMS_OCPP_CLIENT_CAS",
        "Authorities whose client certificates count (security profile 3), beside the CSMS's own: PEM files or "
        "directories of them, separated by commas",
        default="",
    )
    ocpp_client_crls: str = fixed(
        "CSMS_OCPP_CLIENT_CRLS",
        "Certificate revocation lists of these authorities: files or directories of them, separated by commas",
        default="",
    )
    ocpp_organizations: str = fixed(
        "CSMS_OCPP_ORGANIZATIONS",
        "Organisations that a client certificate may name as its O: the operator and whom it trusts, separated by "
        "semicolons; `*` for any. Must be set where client certificates count that others sign; unset where our own CA "
        "alone signs: `CSMS_AUTH_ORGANIZATION`",
        default="",
    )
    ocpp_ocsp_responders: str = fixed(
        "CSMS_OCPP_OCSP_RESPONDERS",
        "OCSP responders that may be asked about client certificates which name them, as `HOST` or `HOST:PORT`, "
        "separated by commas. Unset: none is",
        default="",
    )
    ocpp_allow_unauthenticated: bool = fixed(
        "CSMS_OCPP_ALLOW_UNAUTHENTICATED", "Admit registered stations without a password", default=False
    )
    ocpp_subprotocol_refusal: Literal["101", "400"] = fixed(
        "CSMS_OCPP_SUBPROTOCOL_REFUSAL",
        "How a station is refused that speaks no OCPP version of ours: `101` without the header and a close, or `400`",
        default="101",
    )
    slots: int = Field(
        SLOTS, ge=1, le=1024, description="Partitions of `ocpp.outbound`: how many gateways at once; fixed in the log"
    )
    hide_unknown: bool = Field(False, description="Answer 401 instead of 404 to stations that are not registered")
    lease_s: float = Field(10.0, ge=1, le=120, description="Lease of a slot; renewed every third of it")
    catch_up_s: float = Field(2.0, ge=0, le=30, description="How long a refusal waits for the copy of the stations")
    drain_s: float = Field(10.0, ge=0, le=600, description="How long a stop takes at most: connections close over it")
    handled_commands_max: int = Field(20_000, ge=100, description="Command ids remembered, so that none is sent twice")
    append_bytes_max: int = Field(
        32 * 1024 * 1024, ge=1024 * 1024, description="Bytes on their way to the log; beyond, sockets are not read"
    )
    connections_max: int = Field(15_000, ge=1, description="Open sockets; one more is cut")
    frame_bytes_max: int = Field(
        1_000_000,
        ge=1024,
        le=1_900_000,
        description="Longest message of a station, after inflation; the log's records hold 2 MiB",
    )
    frame_depth_max: int = Field(32, ge=4, le=128, description="Deepest JSON of a station")
    reply_timeout_s: float = Field(30.0, gt=0, le=600, description="A CALL unanswered for this long is forgotten")
    command_timeout_s: float = Field(30.0, gt=0, le=600, description="How long a station has to answer a command")
    commands_max: int = Field(64, ge=1, le=10_000, description="Commands that wait on one connection")
    calls_waiting_max: int = Field(32, ge=1, description="CALLs of a station that wait before its socket is not read")
    calls_waiting_bytes_max: int = Field(65_536, ge=1024, description="The same, in bytes")
    flood_allowance: int = Field(
        1000, ge=1, description="Frames out of turn or refused until a station is closed; it refills"
    )
    flood_allowance_per_s: int = Field(10, ge=0, description="How fast the allowance refills")
    trigger_window_s: float = Field(
        120.0, gt=0, le=3600, description="How long a Pending station may send what TriggerMessage asked for"
    )
    handshake_timeout_s: float = Field(10.0, gt=0, le=120, description="A handshake not finished by then is cut")
    close_timeout_s: float = Field(5.0, gt=0, le=60, description="A closing handshake not finished by then is cut")
    write_timeout_s: float = Field(30.0, gt=0, le=600, description="A station that does not read for this long is cut")
    ping_interval_s: float = Field(60.0, gt=0, le=3600, description="A station silent for this long is pinged")
    pong_timeout_s: float = Field(30.0, gt=0, le=600, description="And cut if it stays silent for this long")
    tls_look_s: float = Field(1.0, gt=0, le=3600, description="How often certificate files are looked at for changes")
    ocsp_hard_fail: bool = Field(
        False, description="Refuse a client certificate about which a responder should be asked and does not answer"
    )
    ocsp_wait_s: float = Field(
        2.0, ge=0, le=30, description="How long the first handshake of a certificate waits for what OCSP says of it"
    )
    ocsp_timeout_s: float = Field(5.0, gt=0, le=60, description="How long an OCSP responder has to answer")
    ocsp_at_once: int = Field(8, ge=1, le=100, description="Questions to OCSP responders under way at once")
    ocsp_waiting_max: int = Field(1000, ge=1, description="The same that wait; beyond, there is no answer")
    ocsp_remembered_max: int = Field(20_000, ge=1, description="Certificates whose OCSP answers are remembered")
    failures_per_station: int = Field(20, ge=1, description="Handshakes per identity that may fail at once")
    failures_per_station_s: float = Field(1.0, ge=0, description="The same, per second in the long run")
    failures_per_source: int = Field(200, ge=1, description="Handshakes per address that may fail at once")
    failures_per_source_s: float = Field(2.0, ge=0, description="The same, per second in the long run")
    failures_remembered_max: int = Field(
        20_000, ge=100, description="Identities, and addresses, whose failed handshakes are counted"
    )
    refusals_recorded_per_station: int = Field(
        3,
        ge=0,
        description="Refused handshakes of a station that become security events, in a minute; more are counted",
    )
    refusals_recorded_max: int = Field(60, ge=0, description="The same for all stations of a gateway together")
    failures_logged_s: float = Field(
        20.0, ge=0, description="Failed handshakes written to the log per second, of all together, after the first 500"
    )
    refusal_delay_s: float = Field(0.3, ge=0, le=10, description="A 401 is sent this long after its request")
    compression: bool = Field(True, description="Offer permessage-deflate (a CSMS shall, Part 4, section 3.3)")
    password_threads: int = Field(2, ge=1, le=32, description="Threads that check passwords which a person chose")
    password_checks_max: int = Field(64, ge=1, description="Slow checks that wait; beyond, 503")
    passwords_remembered_max: int = Field(20_000, ge=0, description="Slow checks remembered")
    scan_records_max: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        20_000, description="Records that one request for a station's frames looks at"
    )

    @property
    def organizations(self) -> tuple[str, ...]:
        """Those of `CSMS_OCPP_ORGANIZATIONS`, one by one; none: any."""
        named = tuple(_parts(self.ocpp_organizations, ";"))
        return () if ANY in named else named


def numbers(settings: Settings) -> Numbers:
    """What the gateway needs of the settings."""
    return Numbers(
        cells=settings.partition_count,
        slots=settings.slots,
        limits=Limits(
            frame_bytes_max=settings.frame_bytes_max,
            depth_max=settings.frame_depth_max,
            reply_timeout_ms=round(settings.reply_timeout_s * 1000),
            command_timeout_ms=round(settings.command_timeout_s * 1000),
            commands_max=settings.commands_max,
            waiting_max=settings.calls_waiting_max,
            waiting_bytes_max=settings.calls_waiting_bytes_max,
            allowance=settings.flood_allowance,
            allowance_per_s=settings.flood_allowance_per_s,
            trigger_window_ms=round(settings.trigger_window_s * 1000),
        ),
        lease_ms=round(settings.lease_s * 1000),
        catch_up_s=settings.catch_up_s,
        drain_s=settings.drain_s,
        handled_max=settings.handled_commands_max,
        append_bytes_max=settings.append_bytes_max,
        rules=Rules(
            allow_unauthenticated=settings.ocpp_allow_unauthenticated,
            hide_unknown=settings.hide_unknown,
            organizations=settings.organizations,
            identity=Rate(settings.failures_per_station, settings.failures_per_station_s),
            source=Rate(settings.failures_per_source, settings.failures_per_source_s),
            remembered_max=settings.failures_remembered_max,
            logged=Rate(LOGGED.burst, settings.failures_logged_s),
            recorded_per_station=settings.refusals_recorded_per_station,
            recorded_max=settings.refusals_recorded_max,
        ),
        ocsp=OcspRules(
            responders=_responders(settings),
            hard_fail=settings.ocsp_hard_fail,
            wait_s=settings.ocsp_wait_s,
            timeout_s=settings.ocsp_timeout_s,
            at_once=settings.ocsp_at_once,
            waiting_max=settings.ocsp_waiting_max,
            remembered_max=settings.ocsp_remembered_max,
        ),
    )


def closed(settings: Settings, own: str = "", others_sign: bool = False) -> Settings:
    """The same where client certificates count by their organisation, or where none count. Raises SettingsError.

    `own`: the name under which the CSMS has certificates signed, "" where this process does not know it: it is the one
    that counts where no other is named. `others_sign`: the CSMS has them signed by a CA that is not its own.
    """
    if not _parts(settings.ocpp_tls_certs) or _parts(settings.ocpp_organizations, ";"):
        return settings
    if _parts(settings.ocpp_client_cas):
        raise SettingsError(UNNAMED.format(whose="the authorities in CSMS_OCPP_CLIENT_CAS"))
    if others_sign and not own:
        raise SettingsError(UNNAMED.format(whose="the authority that CSMS_AUTH_AUTHORITY names"))
    return settings.model_copy(update={"ocpp_organizations": own})


def tls_files(settings: Settings) -> TlsFiles | None:
    """Where certificates are; None: no TLS."""
    pairs = [pair.partition(":") for pair in _parts(settings.ocpp_tls_certs)]
    if not pairs:
        return None
    return TlsFiles(
        certificates=tuple((Path(chain.strip()), Path(key.strip())) for chain, _, key in pairs),
        client_cas=tuple(map(Path, _parts(settings.ocpp_client_cas))),
        revoked=tuple(map(Path, _parts(settings.ocpp_client_crls))),
        responders=_responders(settings),
    )


def _responders(settings: Settings) -> frozenset[str]:
    return frozenset(one.lower() for one in _parts(settings.ocpp_ocsp_responders))


def _parts(text: str, separator: str = ",") -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def listener(settings: Settings, *, tls: bool = False) -> WsSettings:
    """The listener without TLS (security profile 1), or with it (2 and 3)."""
    return WsSettings(
        host=settings.ocpp_host,
        port=settings.ocpp_tls_port if tls else settings.ocpp_port,
        tls_look_s=settings.tls_look_s,
        connections_max=settings.connections_max,
        frame_bytes_max=settings.frame_bytes_max,
        handshake_timeout_s=settings.handshake_timeout_s,
        close_timeout_s=settings.close_timeout_s,
        write_timeout_s=settings.write_timeout_s,
        ping_interval_s=settings.ping_interval_s,
        pong_timeout_s=settings.pong_timeout_s,
        refusal_delay_s=settings.refusal_delay_s,
        refuse_subprotocol=settings.ocpp_subprotocol_refusal == "400",
        compression=settings.compression,
    )
