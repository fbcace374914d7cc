"""Text helpers; what is expected was seen on AIToolbox 1.8.0."""

from typing import Any

import pytest

from compat import find_sub_list, normalize_string, str2bool, unicode_to_ascii
from compat.exceptions import CompatError


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Élan vital", "Elan vital"),
        ("ñandú", "nandu"),
        ("A\u030a\u0301", "A"),
        ("a\u0301b", "ab"),
        ("ß", "ß"),
        ("日本", "日本"),
        ("ﬁ", "ﬁ"),
        ("", ""),
    ],
)
def test_accents_are_taken_and_other_letters_stay(text: str, plain: str) -> None:
    assert unicode_to_ascii(text) == plain


@pytest.mark.parametrize(
    ("text", "normal", "without_conversion"),
    [
        ("  Hello, World! How are you?", "hello world ! how are you ?", "hello world ! how are you ?"),
        ("Élan.vital  ", "elan .vital", "lan .vital"),
        ("a.b!c?d", "a .b !c ?d", "a .b !c ?d"),
        ("10% (of) it", "10 of it", "10 of it"),
        ("...", ". . .", ". . ."),
        ("", "", ""),
        ("don't stop", "don t stop", "don t stop"),
        ("tab\tnew\nline", "tab new line", "tab new line"),
        ("a  !  b", "a ! b", "a ! b"),
        ("é日本!x", "e !x", "!x"),
    ],
)
def test_normal_form_of_a_text(text: str, normal: str, without_conversion: str) -> None:
    assert normalize_string(text) == normal
    assert normalize_string(text, unicode_to_ascii_convert=False) == without_conversion


@pytest.mark.parametrize("word", ["yes", "True", "t", "Y", "1", True])
def test_words_for_true(word: Any) -> None:
    assert str2bool(word) is True


@pytest.mark.parametrize("word", ["no", "FALSE", "f", "N", "0", False])
def test_words_for_false(word: Any) -> None:
    assert str2bool(word) is False


@pytest.mark.parametrize("word", ["maybe", "", " yes", "on"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="Boolean value expected") as caught:
        str2bool(word)
    assert isinstance(caught.value, CompatError)


def test_bytes_are_refused_by_the_type_of_the_old_error() -> None:
    with pytest.raises(TypeError, match="decode it first") as caught:
        normalize_string(b"x")  # type: ignore[arg-type]  # what is looked at
    assert isinstance(caught.value, CompatError)
    with pytest.raises(ValueError, match="Boolean value expected"):
        str2bool(b"yes")


@pytest.mark.parametrize("function", [str2bool, normalize_string])
@pytest.mark.parametrize("value", [5, None, [1]])
def test_what_is_no_text_is_refused_by_the_type_of_the_old_error(function: Any, value: Any) -> None:
    with pytest.raises(AttributeError, match="It takes a str"):
        function(value)


@pytest.mark.parametrize(
    ("run", "whole", "found"),
    [
        ([1, 2], [0, 1, 2, 3], (1, 2)),
        ([1], [1, 1], (0, 0)),
        ([1, 2], [1, 2], (0, 1)),
        ([3], [1, 2], None),
        ([2, 1], [1, 2], None),
        ("bc", "abcd", (1, 2)),
        ((1, 2), [0, 1, 2], None),
        ([], [], None),
        ([], [1], None),
    ],
)
def test_run_in_a_sequence(run: Any, whole: Any, found: tuple[int, int] | None) -> None:
    assert find_sub_list(run, whole) == found


def test_run_longer_than_the_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"should be len\(sub_list\) <= len\(main_list\)\. They are 3 and 1") as caught:
        find_sub_list([1, 2, 3], [1])
    assert isinstance(caught.value, CompatError)
