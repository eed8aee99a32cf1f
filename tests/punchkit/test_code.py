"""Pairing codes: how people type them, and what is no code."""

import random
import re

import pytest

from punchkit.code import Code, make, parse
from punchkit.errors import CodeError, PunchkitError
from punchkit.words import ADJECTIVES, NOUNS


@pytest.mark.parametrize(
    "typed",
    [
        "7-amber-falcon",
        " 7-Amber-FALCON\n",
        "7 amber falcon",
        "7_amber_falcon",
        "7 - amber - falcon",
        "007-amber-falcon",
        "7\u2013amber\u2014falcon",
        "7\u2010amber\u2212falcon",
        "\uff17\uff0d\uff41mber-falcon",  # full width, as an input method gives it
        "7--amber--falcon-",
    ],
)
def test_one_code_in_many_spellings(typed):
    assert parse(typed) == Code("7", "amber-falcon")
    assert str(parse(typed)) == "7-amber-falcon"


@pytest.mark.parametrize("typed", ["12-x", "12-correct horse battery staple", "0-stra\u00dfe", "999999999-4-2"])
def test_any_words_will_do(typed):
    code = parse(typed)
    assert parse(str(code)) == code


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("", "empty"),
        (" - ", "empty"),
        ("amber-falcon", "begins with 'amber'"),
        ("x7-amber", "begins with 'x7'"),
        ("-7.5-amber", "begins with '7.5'"),
        ("7", "no words after the number 7"),
        ("7-", "no words"),
        ("1234567890-amber", "10 digits"),
        ("7-" + "a" * 99, "101 characters"),
        ("7-am\x07ber", "invisible"),
    ],
)
def test_what_is_no_code_is_told_why(typed, problem):
    with pytest.raises(CodeError, match=problem) as caught:
        parse(typed)
    assert "7-amber-falcon" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PunchkitError)


def test_the_password_stays_out_of_repr():
    assert "falcon" not in repr(parse("7-amber-falcon"))


def test_made_codes():
    codes = {make("42", random.Random(seed)) for seed in range(200)}
    assert len(codes) > 190
    assert all(re.fullmatch(r"42-[a-z]+-[a-z]+", code) and str(parse(code)) == code for code in codes)
    assert make("42", random.Random(1)) == make("42", random.Random(1))
    assert make("42") != make("42") or make("42") != make("42")
    with pytest.raises(CodeError):
        make("room")


@pytest.mark.parametrize("words", [ADJECTIVES, NOUNS])
def test_each_list_has_eight_bits(words):
    assert len(set(words)) == len(words) == 256
    assert list(words) == sorted(words)
    assert all(re.fullmatch("[a-z]{2,9}", word) for word in words)


def test_the_lists_share_no_word():
    assert not set(ADJECTIVES) & set(NOUNS)
    assert "amber" in ADJECTIVES
    assert "falcon" in NOUNS
