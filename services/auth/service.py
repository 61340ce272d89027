"""The auth service as data for the engine."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ocppcore import standard, topics
from ocppcore.authorization import NO_RULES, Rules
from ocppcore.contracts import auth as contract
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Fold, Part, RequestHandler, Service, TimerHandler, View
from ocppcore.store import Delete, Upsert
from services.auth import certificates as certificates_part
from services.auth import local_lists as local_lists_part
from services.auth import projections
from services.auth.actions import routes
from services.auth.actions.authorize import Authorize
from services.auth.actions.sign_certificate import SignCertificate
from services.auth.certificates import Certificates
from services.auth.domain import api_key, caches, key_codes, local_list, token
from services.auth.domain.certificate_signing import SigningDesk
from services.auth.domain.key_codes import NO_GUESSING, Guessing
from services.auth.imports import job

Project = Callable[[Any, View], Iterable[Upsert | Delete]]


def parts(
    pseudonyms: Pseudonyms,
    rules: Rules = NO_RULES,
    certificates: Certificates | None = None,
    local_lists: local_lists_part.Effects | None = None,
    guessing: Guessing = NO_GUESSING,
    find_cached: caches.FindCached | None = None,
) -> tuple[Part, ...]:
    """Tokens with what stations ask, API keys, certificates (None: no authority is there), local lists (None: nobody
    builds their messages here)."""
    certificates = certificates or Certificates()
    signing = SignCertificate(SigningDesk(certificates.rules))
    tokens = Part(
        actions=routes(Authorize(pseudonyms, rules, guessing), signing),
        requests=(
            RequestHandler(
                contract.PutToken.NAME, contract.PutToken, token.put, lambda _, key: token.needs(key), token.lookups
            ),
            RequestHandler(
                contract.PatchToken.NAME,
                contract.PatchToken,
                token.patch,
                lambda _, key: token.needs(key),
                token.patch_lookups,
            ),
            RequestHandler(
                contract.ChargeCredit.NAME, contract.ChargeCredit, token.charge, lambda _, key: token.needs(key)
            ),
            RequestHandler(contract.IssueToken.NAME, contract.IssueToken, token.issue, lambda _, key: token.needs(key)),
            RequestHandler(
                contract.RemoveToken.NAME, contract.RemoveToken, token.remove, lambda _, key: token.needs(key)
            ),
        ),
        timers=(TimerHandler(token.OVER, token.over, needs=token.needs),),
        folds=(
            Fold(
                contract.TokenRegistered,
                local_list.token_needs,
                evolve=token.evolve,
                project=_with_labels(projections.project_token),
                derive=projections.derive_token,
                project_first=True,
            ),
            Fold(
                contract.TokenChanged,
                local_list.token_needs,
                evolve=token.evolve,
                project=_with_labels(projections.project_token),
                derive=projections.derive_token,
                project_first=True,
            ),
            Fold(
                contract.TokenRemoved,
                local_list.token_needs,
                evolve=token.evolve_removed,
                project=_with_labels(projections.project_removed),
                derive=projections.derive_token_removed,
                project_first=True,
            ),
            Fold(contract.KeyCodeRefused, needs=key_codes.needs, evolve=key_codes.evolve),
            Fold(contract.ContractCertificateRefused),
            Fold(contract.CertificateStatusRefused),
        ),
        aggregates=(token.Token, token.DriverKey, key_codes.KeyCodes),
        tables=(projections.TOKENS,),
        copies=(
            topics.TOKENS,
            topics.STATIONS,
            topics.TARIFFS,
            topics.OPEN,
            topics.APIKEYS,
            topics.AUTHORITIES,
        ),
    )
    api_keys = Part(
        requests=(
            RequestHandler(contract.PutApiKey.NAME, contract.PutApiKey, api_key.put, lambda _, key: api_key.needs(key)),
            RequestHandler(
                contract.ChangeApiKey.NAME, contract.ChangeApiKey, api_key.change, lambda _, key: api_key.needs(key)
            ),
            RequestHandler(
                contract.RevokeApiKey.NAME, contract.RevokeApiKey, api_key.revoke, lambda _, key: api_key.needs(key)
            ),
        ),
        folds=(
            Fold(
                contract.ApiKeyCreated,
                evolve=api_key.evolve,
                project=projections.project_api_key,
                derive=projections.derive_api_key,
            ),
            Fold(
                contract.ApiKeyChanged,
                evolve=api_key.evolve,
                project=projections.project_api_key,
                derive=projections.derive_api_key,
            ),
            Fold(
                contract.ApiKeyRevoked,
                evolve=api_key.evolve_revoked,
                project=projections.project_revoked,
                derive=projections.derive_revoked,
            ),
        ),
        aggregates=(api_key.ApiKey,),
        tables=(projections.API_KEYS,),
    )
    return (
        tokens,
        api_keys,
        caches.part(find_cached),
        certificates_part.part(certificates),
        local_lists_part.part(local_lists),
        job.part(),
    )


def _with_labels(project: Project) -> Project:
    """What local lists select tokens by is written with each of them."""
    return lambda event, view: chain(project(event, view), local_list.project_token(event, view))


def build(
    pseudonyms: Pseudonyms,
    rules: Rules = NO_RULES,
    certificates: Certificates | None = None,
    local_lists: local_lists_part.Effects | None = None,
    guessing: Guessing = NO_GUESSING,
    find_cached: caches.FindCached | None = None,
) -> Service:
    """The whole service."""
    return standard.build("auth", parts(pseudonyms, rules, certificates, local_lists, guessing, find_cached))
