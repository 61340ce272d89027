"""An ACME server as authority (RFC 8555), asked through certbot's client.

A station's name is no DNS name of a web server: an ordinary challenge cannot prove it. Either the server knows our
account (an external account binding, or its key) and authorizes the names beforehand, or a program of the operator's
makes the proof known, in DNS or on a web server. We order exactly one identifier, the common name.

The client blocks: it runs in a few threads of its own, and each of its requests passes `acme_http`.
"""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, Literal, NamedTuple, TypeVar

import httpx
import requests
import structlog
from acme import challenges, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import CrlReason
from ocppcore.topics import normalise
from services.auth.authority import program
from services.auth.authority.acme_account import AccountKey
from services.auth.authority.acme_http import Bridge
from services.auth.authority.names import check_names
from services.auth.authority.port import AuthorityFailed, Wanted

THREADS: Final = 4
CLEAR_S: Final = 10.0
"""For the program to take a proof back, after all else is over."""
ERROR_CHARACTERS_MAX: Final = 300
REFUSED: Final = frozenset(
    {
        "badCSR", "badPublicKey", "badRevocationReason", "badSignatureAlgorithm", "malformed", "rejectedIdentifier",
        "unsupportedIdentifier",
    }
)  # fmt: skip
"""Problems that lie in the request: the same one is not asked for again."""

REVOKED: Final = "alreadyRevoked"
REASONS: Final[Mapping[CrlReason, int]] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}

MISUNDERSTOOD: Final = (errors.Error, JoseError, ValueError, TypeError, KeyError, AttributeError)
"""What the client raises over answers that RFC 8555 does not know: no object, or without what must be in it."""

ChallengeType = Literal["dns-01", "http-01"]
log = structlog.get_logger(__name__)
T = TypeVar("T")


class Binding(NamedTuple):
    """What the server's operator gave to know our account by: a key's id, and the key (base64url)."""

    kid: str
    hmac_key: str


class Hook(NamedTuple):
    """The program that makes a proof known, and takes it back; which kind of proof it is for."""

    argv: Sequence[str]
    challenge: ChallengeType


class Proof(NamedTuple):
    """One to be made known: `environment` is what the program is told of it."""

    challenge: messages.ChallengeBody
    environment: Mapping[str, str]


class AcmeAuthority:
    """`url`: the server's directory; `timeout_s`: for one certificate, with everything.

    It signs for stations' connections alone: an identifier of ACME does not name an SECC.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        account: AccountKey,
        timeout_s: float,
        *,
        binding: Binding | None = None,
        hook: Hook | None = None,
    ) -> None:
        self._url = url
        self._context = context
        self._account = account
        self._timeout_s = timeout_s
        self._binding = binding
        self._hook = hook
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="acme")

    @property
    def uses(self) -> frozenset[CertificateUse]:
        return frozenset({"ChargingStationCertificate"})

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """The certificate and the CAs that the server sent with it. Raises AuthorityFailed."""
        check_names(wanted)  # our account may be authorized for those of others
        async with self._visit() as visit:
            order = await self._blocking(visit.order, wanted)
            text = await self._proven(visit, order, wanted)
        try:
            return x509.load_pem_x509_certificates(text.encode())
        except (ValueError, x509.InvalidVersion):
            raise AuthorityFailed(f"{self._url} answered no certificates", again=True) from None

    async def revoke(self, chain: Sequence[x509.Certificate], reason: CrlReason) -> None:
        """By the account that ordered it. Raises AuthorityFailed."""
        async with self._visit() as visit:
            await self._blocking(visit.revoke, chain[0], REASONS[reason])

    @asynccontextmanager
    async def _visit(self) -> "AsyncIterator[Visit]":
        """The client with our account's key, until the time is up. Raises AuthorityFailed."""
        key = await self._account.load()
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        until = datetime.datetime.now() + datetime.timedelta(seconds=self._timeout_s)
        try:
            async with (
                asyncio.timeout_at(deadline),
                httpx.AsyncClient(verify=self._context, timeout=self._patience(), trust_env=False) as http,
            ):
                yield Visit(self._url, key, self._binding, Bridge(http, deadline), until)
        except TimeoutError:
            raise AuthorityFailed(f"{self._url} took longer than {self._timeout_s:g} s", again=True) from None

    def _patience(self) -> httpx.Timeout:
        """What cannot be opened is given up before the deadline: cut in its handshake, the socket would stay open."""
        return httpx.Timeout(self._timeout_s, connect=self._timeout_s / 2)

    async def _proven(self, visit: "Visit", order: messages.OrderResource, wanted: Wanted) -> str:
        """The order's chain, once the server has seen the proofs that it wants."""
        proofs = visit.proofs(order, wanted.common_name, self._hook.challenge if self._hook else None)
        told: list[Proof] = []
        try:
            for proof in proofs:
                told.append(proof)  # also one that the program did not finish
                await self._tell("set", proof, self._timeout_s)
            return await self._blocking(visit.finish, order, [proof.challenge for proof in proofs])
        finally:
            for proof in told:
                try:
                    await self._tell("clear", proof, CLEAR_S)
                except AuthorityFailed as failed:
                    log.warning("the proof for an ACME server was not taken back", error=str(failed))

    async def _tell(self, what: Literal["set", "clear"], proof: Proof, timeout_s: float) -> None:
        assert self._hook is not None, "proofs are for a program"
        await program.run(self._hook.argv, b"", timeout_s, {"ACME_ACTION": what, **proof.environment})

    async def _blocking(self, work: Callable[..., T], *given: object) -> T:
        """Done in a thread; what the client raises is AuthorityFailed."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        except messages.Error as error:
            raise self._failed(error, again=error.code not in REFUSED) from None
        except errors.IssuanceError as error:
            raise self._failed(error.error, again=error.error.code not in REFUSED) from None
        except errors.ValidationError as error:
            raise self._failed(f"the proof was not taken: {_why(error)}", again=True) from None
        except errors.TimeoutError:
            raise AuthorityFailed(f"{self._url} took longer than {self._timeout_s:g} s", again=True) from None
        except requests.RequestException as error:
            raise AuthorityFailed(f"{self._url} cannot be asked: {error}"[:ERROR_CHARACTERS_MAX], again=True) from None
        except MISUNDERSTOOD as error:
            raise self._failed(f"no answer of ACME: {type(error).__name__} {error}", again=True) from None

    def _failed(self, error: object, *, again: bool) -> AuthorityFailed:
        said = " ".join(str(error).split())
        return AuthorityFailed(f"{self._url} answered: {said}"[:ERROR_CHARACTERS_MAX], again=again)


class Visit:
    """One certificate's way through the client. Each method blocks, for a thread; one at a time. `until`: local time,
    as the client reckons."""

    def __init__(self, url: str, key: JWKEC, binding: Binding | None, bridge: Bridge, until: datetime.datetime) -> None:
        self._url = url
        self._key = key
        self._binding = binding
        self._until = until
        self._net = ClientNetwork(key, alg=ES256, user_agent="csms")
        self._net.session.trust_env = False
        self._net.session.mount("https://", bridge)
        self._net.session.mount("http://", bridge)

    def order(self, wanted: Wanted) -> messages.OrderResource:
        """An order for the common name."""
        self._enter()
        return self._client.new_order(wanted.request.public_bytes(Encoding.PEM))

    def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """One that is revoked already is fine."""
        self._enter()
        try:
            self._client.revoke(certificate, reason)
        except messages.Error as error:
            if error.code != REVOKED:
                raise

    def _enter(self) -> None:
        """By our account, which is opened where there is none."""
        directory = ClientV2.get_directory(self._url, self._net)
        self._client = ClientV2(directory, self._net)
        bound = None
        if self._binding is not None:
            bound = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), self._binding.kid, self._binding.hmac_key, directory
            )
        new = messages.NewRegistration.from_data(terms_of_service_agreed=True, external_account_binding=bound)
        try:
            address = self._client.new_account(new).uri
        except errors.ConflictError as known:  # which is how the client says that it is there
            address = known.location
        if not address:
            raise AuthorityFailed(f"{self._url} did not say where our account is: no answer of ACME", again=True)
        self._net.account = messages.RegistrationResource(body=messages.Registration(), uri=address)

    def proofs(self, order: messages.OrderResource, name: str, challenge: ChallengeType | None) -> Sequence[Proof]:
        """What is to be made known before the order is ready. Raises AuthorityFailed; blocks nobody."""
        wanted = [one.body for one in order.authorizations if one.body.status == messages.STATUS_PENDING]
        return [self._proof(body, name, challenge) for body in wanted]

    def _proof(self, body: messages.Authorization, name: str, challenge: ChallengeType | None) -> Proof:
        if normalise(str(body.identifier.value)) != normalise(name):
            raise AuthorityFailed(f"{self._url} wants a proof for another name than {name!r}", again=True)
        if challenge is None:
            raise AuthorityFailed(
                f"{self._url} has not authorized {name!r} beforehand, and CSMS_AUTH_CA_CHALLENGE_COMMAND is not set",
                again=True,
            )
        for offered in body.challenges:
            match challenge, offered.chall:
                case "dns-01", challenges.DNS01() as chall:
                    where, value = chall.validation_domain_name(name), chall.validation(self._key)
                case "http-01", challenges.HTTP01() as chall:
                    where, value = chall.path, chall.validation(self._key)
                case _:
                    continue
            told = {
                "ACME_CHALLENGE": challenge,
                "ACME_IDENTIFIER": name,
                "ACME_NAME": where,
                "ACME_VALUE": value,
            }
            return Proof(offered, told)
        raise AuthorityFailed(f"{self._url} offers no challenge {challenge} for {name!r}", again=True)

    def finish(self, order: messages.OrderResource, answered: Sequence[messages.ChallengeBody]) -> str:
        """The chain in PEM; `answered`: challenges whose proofs can be seen by now."""
        for challenge in answered:
            self._client.answer_challenge(challenge, challenge.response(self._key))
        ready = self._client.poll_authorizations(order, self._until)
        return str(self._client.finalize_order(ready, self._until).fullchain_pem)


def _why(error: errors.ValidationError) -> str:
    """What the server said of each challenge that it tried."""
    said = [one.error for failed in error.failed_authzrs for one in failed.body.challenges if one.error is not None]
    return "; ".join(map(str, said))
