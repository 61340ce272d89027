"""Passwords of stations at rest."""

import time

import pytest

from ocppcore import credentials

KEY = b"k" * 32


@pytest.mark.requirement("A00.FR.207")
@pytest.mark.parametrize("make", [credentials.hash_generated, credentials.hash_chosen])
def test_only_the_right_password_under_the_right_key_passes(make):
    stored = make("correct horse", KEY)

    assert credentials.verify("correct horse", stored, KEY)
    assert not credentials.verify("correct horsf", stored, KEY)
    assert not credentials.verify("", stored, KEY)
    assert not credentials.verify("correct horse", stored, b"x" * 32)


@pytest.mark.parametrize("make", [credentials.hash_generated, credentials.hash_chosen])
def test_the_stored_form_shows_nothing_and_differs_each_time(make):
    first, second = make("hunter2", KEY), make("hunter2", KEY)

    assert first != second
    assert "hunter2" not in first


def test_a_generated_password_costs_microseconds_a_chosen_one_is_told_apart_as_slow():
    fast, slow = credentials.hash_generated("p" * 40, KEY), credentials.hash_chosen("p", KEY)
    began = time.process_time()
    for _ in range(1000):
        credentials.verify("p" * 40, fast, KEY)

    assert time.process_time() - began < 0.2
    assert not credentials.is_slow(fast)
    assert credentials.is_slow(slow)


@pytest.mark.parametrize("stored", ["", "plain", "b2$", "b2$!$!", "b2$a$b$c", "scrypt$1$1$1$AA$AA", "md5$AA$AA"])
def test_a_stored_text_of_another_kind_is_an_error_not_a_refusal(stored):
    with pytest.raises(credentials.BadCredential):
        credentials.verify("password", stored, KEY)


def test_any_text_is_a_password():
    for password in ("", "é" * 40, "\x00", "\ud800", ":"):
        stored = credentials.hash_generated(password, KEY)
        assert credentials.verify(password, stored, KEY)
