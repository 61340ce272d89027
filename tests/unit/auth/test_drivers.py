"""Values of idTokens under the driver's own key."""

import pytest
from cryptography.exceptions import InvalidTag

from services.auth.drivers import Drivers, Sealed


def test_a_value_comes_back_as_it_was_spelled_and_nothing_shows_it() -> None:
    drivers = Drivers(b"secret")
    sealed = drivers.seal("pseudonym", "AbCd-é")
    assert drivers.open("pseudonym", sealed) == "AbCd-é"
    assert "AbCd" not in str(sealed)


def test_every_driver_has_another_key_and_another_installation_opens_nothing() -> None:
    drivers = Drivers(b"secret")
    one, two = drivers.seal("p", "value"), drivers.seal("p", "value")
    assert one.value != two.value
    for wrong in (Sealed(one.value, two.key), Sealed(two.value, one.key)):
        with pytest.raises(InvalidTag):
            drivers.open("p", wrong)
    with pytest.raises(InvalidTag):
        drivers.open("another", one)
    with pytest.raises(InvalidTag):
        Drivers(b"other").open("p", one)
