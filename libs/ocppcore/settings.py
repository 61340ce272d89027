"""Settings: read from the environment once, at the start; frozen; passed on by argument. Keys and where they are kept.

Every service has one `Settings(BaseServiceSettings)`. Its own settings have the prefix `CSMS_<SERVICE>_`; those that
all services share, and the fixed points that others' scripts rely on, name their variable with `fixed`. No other
module reads the environment. Secrets may come from files: `DATABASE_URL_FILE` names the one of `DATABASE_URL`.
"""

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, get_args

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ocppcore.errors import OperatorError
from ocppcore.topics import RETENTION_DEFAULT, Retention, retention_days

KEY_CHARACTERS_MIN = 32
PARTITIONS_EMBEDDED = 4
PARTITIONS_KAFKA = 48
_NEW_ON_KAFKA = " (on Kafka: of topics that are made from then on; one that exists keeps what it has)"
FROM_FILE = "_FILE"
"""Behind a secret's variable: the file that holds it."""
SECRET_FILE_BYTES_MAX = 65_536


class SettingsError(OperatorError):
    """The environment, or a key file, is not as it must be. The message says what to change and holds no secret."""


def fixed(variable: str, description: str, **more: Any) -> Any:
    """A field whose environment variable has exactly this name, without the service's prefix."""
    return Field(validation_alias=variable, description=description, **more)


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < KEY_CHARACTERS_MIN:
        raise ValueError(f"a key is {KEY_CHARACTERS_MIN} characters or longer; `openssl rand -base64 32` makes one")
    return key


Key = Annotated[SecretStr, AfterValidator(_long_enough)]
Port = Annotated[int, Field(ge=0, le=65535)]
"""0 takes any free port."""
Namespace = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_]{0,30})?$")]


def _networks(text: str) -> str:
    for one in text.split(",") if text else ():
        ipaddress.ip_network(one.strip())
    return text


Networks = Annotated[str, AfterValidator(_networks)]
"""IP addresses and networks (`10.0.0.0/8`), separated by commas."""
KafkaProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def names_secret(annotation: Any) -> bool:
    """Whether values of this type are secrets: a SecretStr somewhere in it."""
    return annotation is SecretStr or any(map(names_secret, get_args(annotation)))


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that `VARIABLE_FILE` names, as Docker and Kubernetes mount them."""

    def __init__(self, settings_cls: "type[BaseServiceSettings]") -> None:
        super().__init__(settings_cls)
        self._variables = variables(settings_cls)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = self._variables[field_name]
        path = os.environ.get(f"{variable}{FROM_FILE}", "")
        if not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise SettingsError(f"{variable} and {variable}{FROM_FILE} are both set: choose one")
        return _secret_in(Path(path), f"{variable}{FROM_FILE}"), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
            if names_secret(field.annotation)
        }
        return {name: value for name, value in found.items() if value is not None}


def _secret_in(path: Path, variable: str) -> str:
    try:
        with path.open("rb") as file:
            held = file.read(SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    try:
        text = held.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: {path} is no text") from None
    if not text or len(held) > SECRET_FILE_BYTES_MAX:
        raise SettingsError(f"{variable}: {path} is {'longer than a secret' if text else 'empty'}")
    return text


class BaseServiceSettings(BaseSettings):
    """What all services share. Subclasses set `model_config = service_config("auth")` and add their own."""

    model_config = SettingsConfigDict(
        env_prefix="CSMS_", frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed in, else the environment, else files that the environment names."""
        assert issubclass(settings_cls, BaseServiceSettings)
        return init_settings, env_settings, _SecretFiles(settings_cls)

    data: Annotated[Path, AfterValidator(Path.expanduser)] = fixed(
        "CSMS_DATA",
        "Directory of everything the embedded system keeps: database, keys, the administrator's key",
        default_factory=lambda: user_data_path("csms", appauthor=False),
    )
    log: Literal["postgres", "kafka"] = fixed(
        "CSMS_LOG", "What carries the log: `postgres` (one machine, nothing else needed) or `kafka`", default="postgres"
    )
    kafka_bootstrap_servers: str = fixed(
        "KAFKA_BOOTSTRAP_SERVERS", "Kafka brokers, `host:port`, separated by commas; needed with `kafka`", default=""
    )
    kafka_security_protocol: KafkaProtocol = fixed(
        "KAFKA_SECURITY_PROTOCOL",
        "How the brokers are spoken to: `PLAINTEXT`, `SSL` (TLS), `SASL_PLAINTEXT` or `SASL_SSL` (with a user)",
        default="PLAINTEXT",
    )
    kafka_sasl_mechanism: SaslMechanism = fixed(
        "KAFKA_SASL_MECHANISM",
        "How the user is shown: `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`; needed with `SASL_...`",
        default="",
    )
    kafka_sasl_username: str = fixed(
        "KAFKA_SASL_USERNAME", "This process's user on Kafka: one for each service, see `csms acls`", default=""
    )
    kafka_sasl_password: SecretStr | None = fixed("KAFKA_SASL_PASSWORD", "The password of that user", default=None)
    kafka_ssl_ca_file: str = fixed(
        "KAFKA_SSL_CA_FILE",
        "Authorities that brokers' certificates are checked by, PEM; unset: the system's",
        default="",
    )
    kafka_ssl_cert_file: str = fixed(
        "KAFKA_SSL_CERT_FILE", "Certificate that this process shows to brokers, with what is above it, PEM", default=""
    )
    kafka_ssl_key_file: str = fixed(
        "KAFKA_SSL_KEY_FILE",
        "The key of that certificate, PEM without a passphrase; unset: in the same file",
        default="",
    )
    database_url: SecretStr | None = fixed(
        "DATABASE_URL",
        "A PostgreSQL server of your own instead of the embedded one; `?sslmode=verify-full&sslrootcert=...` for TLS",
        default=None,
    )
    namespace: Namespace = fixed(
        "CSMS_NAMESPACE", "Prefix of topics, groups and schemas: several installations on one server", default=""
    )
    partitions: int | None = fixed(
        "CSMS_PARTITIONS",
        f"Cells per service, fixed when the log is created (unset: {PARTITIONS_EMBEDDED} on PostgreSQL, "
        f"{PARTITIONS_KAFKA} on Kafka)",
        default=None,
        ge=1,
        le=1024,
    )
    pseudonym_key: Key | None = fixed(
        "CSMS_PSEUDONYM_KEY",
        "Makes pseudonyms of idTokens; back it up. Unset and embedded: made once, in `CSMS_DATA/keys`",
        default=None,
    )
    password_key: Key | None = fixed(
        "CSMS_PASSWORD_KEY",
        "Protects stored passwords and API keys; back it up. Unset and embedded: made once, in `CSMS_DATA/keys`",
        default=None,
    )
    admin_key: SecretStr | None = fixed(
        "CSMS_ADMIN_KEY",
        "The administrator's API key. Unset and embedded: made once, printed, kept in `CSMS_DATA/admin.key`",
        default=None,
        min_length=8,
    )
    http_host: str = fixed("CSMS_HTTP_HOST", "Address that the HTTP APIs listen on", default="0.0.0.0")
    http_port: Port = fixed("CSMS_HTTP_PORT", "Port of the HTTP APIs", default=8080)
    http_body_bytes_max: int = fixed(
        "CSMS_HTTP_BODY_BYTES_MAX", "A larger request body is refused with 413", default=1_048_576, ge=1024
    )
    http_wait_s: float = fixed(
        "CSMS_HTTP_WAIT_S", "How long a write waits for its outcome before it answers 202", default=10.0, ge=0, le=60
    )
    http_trusted_proxies: Networks = fixed(
        "CSMS_HTTP_TRUSTED_PROXIES",
        "Proxies whose `X-Forwarded-For` says where a request comes from: addresses and networks, separated by commas",
        default="",
    )
    oidc_issuers: str = fixed(
        "CSMS_OIDC_ISSUERS",
        "OpenID Connect issuers whose access tokens are taken beside API keys: URLs, separated by commas",
        default="",
    )
    oidc_audience: str = fixed(
        "CSMS_OIDC_AUDIENCE", "What `aud` of a token must name; needed with issuers", default="", max_length=500
    )
    oidc_roles_claim: str = fixed(
        "CSMS_OIDC_ROLES_CLAIM",
        "Claim that holds roles: its name, or a path of names with dots (`realm_access.roles`)",
        default="roles",
        min_length=1,
    )
    oidc_roles: str = fixed(
        "CSMS_OIDC_ROLES",
        "Which value of that claim is which role: `value=role` pairs, separated by commas; the highest counts",
        default="viewer=viewer,operator=operator,admin=admin",
    )
    oidc_stations_claim: str = fixed(
        "CSMS_OIDC_STATIONS_CLAIM",
        "Claim that holds the stations a token reaches; a token without it reaches none. Unset: all reach all",
        default="",
    )
    oidc_leeway_s: int = fixed(
        "CSMS_OIDC_LEEWAY_S", "How far the clocks of issuers may be off", default=30, ge=0, le=300
    )
    oidc_keys_max_age_s: int = fixed(
        "CSMS_OIDC_KEYS_MAX_AGE_S",
        "How long an issuer's keys count while it cannot be reached; then its tokens are answered 503",
        default=3600,
        ge=60,
        le=86_400,
    )
    frames_days: int = fixed(
        "CSMS_FRAMES_DAYS", f"Days that raw frames, both directions, are kept{_NEW_ON_KAFKA}",
        default=RETENTION_DEFAULT["frames"], ge=1, le=3660,
    )  # fmt: skip
    requests_days: int = fixed(
        "CSMS_REQUESTS_DAYS", f"Days that writes asked for over HTTP, and ticks, are kept{_NEW_ON_KAFKA}",
        default=RETENTION_DEFAULT["requests"], ge=1, le=3660,
    )  # fmt: skip
    meter_days: int = fixed(
        "CSMS_METER_DAYS",
        f"Days that meter values as stations sent them are kept, on the log and in the database{_NEW_ON_KAFKA}",
        default=RETENTION_DEFAULT["meter"], ge=1, le=3660,
    )  # fmt: skip
    hang_s: float = fixed(
        "CSMS_HANG_S", "A process whose event loop stands still for this long ends itself", default=60.0, ge=1, le=3600
    )
    log_level: Literal["debug", "info", "warning", "error"] = fixed(
        "CSMS_LOG_LEVEL", "Least level of what is logged", default="info"
    )
    log_format: Literal["auto", "json", "console"] = fixed(
        "CSMS_LOG_FORMAT", "`json` lines, readable `console` lines, or `auto`: console on a terminal", default="auto"
    )
    trace_ratio: float = fixed(
        "CSMS_TRACE_RATIO", "Share of frames and API calls that start a trace, 0 to 1", default=0.001, ge=0, le=1
    )
    trace_endpoint: str = fixed(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "Collector that spans go to by OTLP over HTTP; unset: none are sent", default=""
    )

    @property
    def retention_days(self) -> dict[str, int]:
        """Topic -> days, for those that are not kept for ever."""
        chosen: dict[Retention, int] = {
            "frames": self.frames_days, "requests": self.requests_days, "meter": self.meter_days,
        }  # fmt: skip
        return retention_days(chosen)

    @property
    def partition_count(self) -> int:
        """Partitions of the topics whose number is the number of cells."""
        return self.partitions or (PARTITIONS_KAFKA if self.log == "kafka" else PARTITIONS_EMBEDDED)


def service_config(service: str) -> SettingsConfigDict:
    """The `model_config` of a service's Settings: its own variables begin with `CSMS_<SERVICE>_`."""
    return SettingsConfigDict(env_prefix=f"CSMS_{service.upper()}_")


S = TypeVar("S", bound=BaseServiceSettings)


def read(settings: type[S]) -> S:
    """These settings from the environment. Raises SettingsError that names each variable and what is wrong with it."""
    try:
        found = settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
        raise SettingsError("\n".join(lines)) from None
    if found.log == "kafka" and not found.kafka_bootstrap_servers:
        raise SettingsError("CSMS_LOG is kafka: KAFKA_BOOTSTRAP_SERVERS must name its brokers")
    return found


def variables(settings: type[BaseServiceSettings]) -> dict[str, str]:
    """The environment variable of each field, by the field's name."""
    prefix = settings.model_config.get("env_prefix", "")
    return {
        name: str(field.validation_alias or f"{prefix}{name}".upper()) for name, field in settings.model_fields.items()
    }


def secret_variables(settings: type[BaseServiceSettings]) -> frozenset[str]:
    """The variables that hold secrets: each may be replaced by `VARIABLE_FILE`."""
    names = variables(settings)
    return frozenset(names[name] for name, field in settings.model_fields.items() if names_secret(field.annotation))


def misspelt(known: Iterable[type[BaseServiceSettings]]) -> dict[str, str]:
    """Variables in the environment that look like ours and are none, with the likeliest meant one ("" if none is)."""
    known = tuple(known)
    names = {variable for settings in known for variable in variables(settings).values()}
    names |= {f"{variable}{FROM_FILE}" for settings in known for variable in secret_variables(settings)}
    strange = sorted(name for name in os.environ if name.startswith("CSMS_") and name.upper() not in names)
    return {name: next(iter(get_close_matches(name, names, 1)), "") for name in strange}


class Keys(NamedTuple):
    """The two secrets that data depends on. Without `pseudonym` no driver is found again, without `password` no
    station or API client gets in."""

    pseudonym: bytes
    password: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


def fingerprint(key: bytes) -> str:
    """16 hexadecimal digits that tell keys apart and say nothing about them; recorded in the log."""
    return hashlib.blake2b(key, digest_size=8, person=b"csms-fingerprint").hexdigest()


def keys(settings: BaseServiceSettings, *, make: bool) -> Keys:
    """The keys as set, or, with `make` (the embedded system), from `CSMS_DATA/keys`, made there if there are none.

    Raises SettingsError where one is neither set nor to be made, or where others can read its file.
    """

    def one(name: str, given: SecretStr | None) -> bytes:
        if given is not None:
            return given.get_secret_value().encode()
        if not make:
            raise SettingsError(f"CSMS_{name.upper()}_KEY is required: this system does not keep its own keys")
        text, _ = _kept_secret(settings.data / "keys" / name)
        return text.encode()

    return Keys(one("pseudonym", settings.pseudonym_key), one("password", settings.password_key))


_UNSEEN: Final = "admin.key.unseen"
"""Beside the key until it was shown: a first start may fail before it can greet."""


class AdminKey(NamedTuple):
    """The administrator's API key; `unseen`: nobody was shown it, so print it, and say so with `admin_key_shown`."""

    key: SecretStr
    unseen: bool


def admin_key(settings: BaseServiceSettings) -> AdminKey:
    """The administrator's API key as set, or the one in `CSMS_DATA/admin.key`, made if there is none."""
    if settings.admin_key is not None:
        return AdminKey(settings.admin_key, unseen=False)
    path, unseen = settings.data / "admin.key", settings.data / _UNSEEN
    if not path.exists():
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        unseen.touch(mode=0o600)
    text, _ = _kept_secret(path)
    return AdminKey(SecretStr(text), unseen.exists())


def admin_key_shown(settings: BaseServiceSettings) -> None:
    """The key was printed: it is not printed again."""
    (settings.data / _UNSEEN).unlink(missing_ok=True)


def _kept_secret(path: Path) -> tuple[str, bool]:
    """The text of a secret's file, and whether it was made now: whole or not at all, by one process of many."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = not path.exists() and _create(path)
    if mode := path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by others (mode {0o600 | mode:o}): chmod 600 {path}")
    text = path.read_text(encoding="ascii").strip()
    if len(text) < KEY_CHARACTERS_MIN:
        raise SettingsError(f"{path} holds no key of {KEY_CHARACTERS_MIN} characters: restore it from your backup")
    return text, made


def _create(path: Path) -> bool:
    """Write a new secret; False when another process was first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(KEY_CHARACTERS_MIN) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
