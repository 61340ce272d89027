"""Identities in URLs, credentials in headers, versions of OCPP."""

import base64

import pytest

from services.gateway.domain.admission import (
    BadIdentity,
    Basic,
    basic_of,
    choose_subprotocol,
    identity_of,
    names_station,
)


@pytest.mark.requirement("P4.3.1.1.2")
@pytest.mark.parametrize(
    ("target", "identity"),
    [
        ("/ocpp/CS001", "CS001"),
        ("/ocpp/RDAM%20123", "RDAM 123"),
        ("/ocpp/NL*ABC%2a1", "NL*ABC*1"),
        ("/ocpp/a%40b%7cc+d=e_f-g.h", "a@b|c+d=e_f-g.h"),
        ("/ocpp/CS001?token=1", "CS001"),
        ("/ocpp/" + "x" * 48, "x" * 48),
        ("/ocpp/" + "%41" * 48, "A" * 48),
    ],
)
def test_the_identity_is_the_last_segment_percent_decoded(target, identity):
    assert identity_of(target, "/ocpp/") == identity


@pytest.mark.requirement("P4.3.1.1.2")
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/", "stations connect to"),
        ("/other/CS001", "stations connect to"),
        ("/ocpp", "stations connect to"),
        ("/ocpp/", "names no"),
        ("/ocpp/a/b", "slash"),
        ("/ocpp/CS001/", "slash"),
        ("/ocpp/a%2Fb", "characters"),
        ("/ocpp/..", "characters"),
        ("/ocpp/%2e%2e", "characters"),
        ("/ocpp/.", "characters"),
        ("/ocpp/%20", "characters"),
        ("/ocpp/a%3Ab", "characters"),
        ("/ocpp/a:b", "characters"),
        ("/ocpp/a%00b", "characters"),
        ("/ocpp/a%0Ab", "characters"),
        ("/ocpp/stra%C3%9Fe", "characters"),
        ("/ocpp/%FF", "UTF-8"),
        ("/ocpp/%ZZ", "percent"),
        ("/ocpp/%4", "percent"),
        ("/ocpp/%", "percent"),
        ("/ocpp/" + "x" * 49, "48"),
    ],
)
def test_what_is_no_identity_is_refused_with_the_reason(target, reason):
    with pytest.raises(BadIdentity, match=reason):
        identity_of(target, "/ocpp/")


def header(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.mark.parametrize(
    ("headers", "basic"),
    [
        ([header("CS1:secret")], Basic("CS1", "secret")),
        ([header("CS1:se:cr:et")], Basic("CS1", "se:cr:et")),
        ([header("CS1:")], Basic("CS1", "")),
        ([header("CS1:pässword")], Basic("CS1", "pässword")),
        ([header("CS1:secret").replace("Basic", "basic")], Basic("CS1", "secret")),
        ([], None),
        ([""], None),
        (["Basic"], None),
        (["Basic !!!"], None),
        ([header("no colon")], None),
        ([header(b"CS1:\xff")], None),
        (["Bearer abc"], None),
        ([header("CS1:a"), header("CS1:b")], None),
    ],
)
def test_credentials_are_exactly_one_readable_header(headers, basic):
    assert basic_of(headers) == basic


def test_the_user_name_is_the_identity_in_any_case():
    assert names_station(Basic("cS1", ""), "cs1")
    assert names_station(Basic("cS1", ""), "lc", "cs1")
    assert not names_station(Basic("cs2", ""), "cs1")


@pytest.mark.parametrize("user", ["C\u017f1", "\u212as1", "cs1\u00ad", "\uff43\uff531"])
def test_a_user_name_that_folds_to_an_identity_is_none(user):
    """LATIN SMALL LETTER LONG S folds to s, KELVIN SIGN to k."""
    assert not names_station(Basic(user, ""), "cs1", "ks1")


@pytest.mark.requirement("P4.3.1.2.1")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["ocpp2.0.1"], "ocpp2.0.1"),
        (["ocpp1.6", "ocpp2.0.1", "ocpp2.1"], "ocpp2.0.1"),
        (["ocpp1.6"], None),
        (["OCPP2.0.1"], None),
        ([], None),
    ],
)
def test_of_several_versions_the_supported_one_is_spoken(offered, chosen):
    assert choose_subprotocol(offered) == chosen
