"""Booleans, times and whole names as other systems export them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidValueError
from domain.values import parse_time
from operations.bulk_import.values import parse_flag, parse_moment, split_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("TRUE", True),
        (" Yes ", True),
        ("1", True),
        ("false", False),
        ("False", False),
        ("no", False),
        ("0", False),
    ],
)
def test_six_words_are_booleans(text: str, expected: bool) -> None:
    """In any case."""
    assert parse_flag(text) is expected


@pytest.mark.parametrize(
    "text", ["", "maybe", "t", "y", "on", "ja", "2", "1.0", "null", "truefalse"]
)
def test_an_ambiguous_boolean_is_refused(text: str) -> None:
    """The error has the rule and not the value."""
    with pytest.raises(InvalidValueError, match=r"^must be true or false \(also accepted: yes"):
        parse_flag(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-03-01T09:30:00Z", "2019-03-01T09:30:00.000Z"),
        ("2019-03-01T09:30:00.123456+02:00", "2019-03-01T07:30:00.123Z"),  # Django, PostgreSQL
        ("2019-03-01 09:30:00.123456+00", "2019-03-01T09:30:00.123Z"),  # COPY of PostgreSQL
        ("2019-03-01T09:30:00.5-0130", "2019-03-01T11:00:00.500Z"),  # Java
        ("2019-03-01", "2019-03-01T00:00:00.000Z"),
        ("1551432600", "2019-03-01T09:30:00.000Z"),
        ("1551432600.25", "2019-03-01T09:30:00.250Z"),  # Python
        ("1551432600000", "2019-03-01T09:30:00.000Z"),  # Keycloak, Firebase
        ("1551432600123.0", "2019-03-01T09:30:00.123Z"),
        (" 915148800 ", "1999-01-01T00:00:00.000Z"),
        ("915148800000", "1999-01-01T00:00:00.000Z"),
        ("9999999999", "2286-11-20T17:46:39.000Z"),
    ],
)
def test_a_time_has_the_forms_of_common_exports(text: str, expected: str) -> None:
    """The result is RFC 3339 in UTC, to the millisecond."""
    assert parse_moment(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2019",
        "20190301",  # a date or seconds of 1970
        "15514326000",  # neither seconds nor milliseconds
        "1551432600000000",  # microseconds
        "-1551432600",
        "2019-03-01 09:30:00",  # of which time zone?
        "2019-03-01T09:30",
        "01/03/2019",  # January or March
        "2019-02-30",
        "2019-03-01T25:00:00Z",
        "2019-03-01T09:30:00+99",
        "1.5e9",
        "\u0661\u0665\u0665\u0661\u0664\u0663\u0662\u0666\u0660\u0660",
        "9" * 4_000,
    ],
)
def test_an_ambiguous_or_invalid_time_is_refused(text: str) -> None:
    """The error lists the forms."""
    with pytest.raises(InvalidValueError, match=r"^must be an RFC 3339 time with offset, a date"):
        parse_moment(text)


@given(st.text(max_size=40) | st.from_regex(r"[0-9T:.+Z -]{1,35}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """What is accepted is a time that the worker accepts."""
    try:
        found = parse_moment(text)
    except InvalidValueError:
        return
    assert parse_time(found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", ("Ada", "Lovelace")),
        ("  Ada \t Lovelace ", ("Ada", "Lovelace")),
        ("Augusta Ada King", ("Augusta Ada", "King")),
        ("Ludwig van Beethoven", ("Ludwig van", "Beethoven")),
        ("Madonna", ("Madonna", None)),
        ("José\u00a0Núñez", ("José", "Núñez")),
    ],
)
def test_the_last_word_of_a_name_is_the_family_name(
    name: str, expected: tuple[str, str | None]
) -> None:
    """A single word is a given name."""
    assert split_name(name) == expected


@pytest.mark.parametrize("name", ["", " ", None, 7, ["Ada"]])
def test_a_name_without_a_word_is_refused(name: object) -> None:
    """JSON may hold any value."""
    with pytest.raises(InvalidValueError, match="must be a string with a name"):
        split_name(name)


@pytest.mark.parametrize("name", ["Lovelace, Ada", "King, Jr., Martin", ","])
def test_a_name_with_a_comma_is_refused(name: str) -> None:
    """It may have the family name first, and a wrong name is worse than an invalid row."""
    with pytest.raises(InvalidValueError, match="without a comma"):
        split_name(name)
