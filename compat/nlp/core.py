"""Text helpers that programs written for the old library import from ``aitoolbox.nlp.core.core``."""

import re
import unicodedata
from typing import Any

from compat._ledger import called
from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingAttributeError

__all__ = ["find_sub_list", "normalize_string", "str2bool", "unicode_to_ascii"]

_TRUE = ("yes", "true", "t", "y", "1")
_FALSE = ("no", "false", "f", "n", "0")


def unicode_to_ascii(text_string: str) -> str:
    """Take the accents from letters; letters that are none of ASCII with an accent stay as they are.

    Args:
        text_string: The text.
    """
    called("compat.nlp.core.unicode_to_ascii")
    parts = unicodedata.normalize("NFD", text_string)
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


def normalize_string(text_string: str, unicode_to_ascii_convert: bool = True) -> str:
    """Reduce a text to lower-case words and the marks ``.``, ``!`` and ``?``, each mark set off by a blank before it.

    Args:
        text_string: The text.
        unicode_to_ascii_convert: Take the accents from letters first; a letter with an accent is lost otherwise.

    Returns:
        Letters ``a-z``, digits and the three marks, with single blanks between words.

    Raises:
        InvalidTypeError: It is bytes.
        MissingAttributeError: It is nothing like text.
    """
    called("compat.nlp.core.normalize_string")
    given: Any = text_string
    if isinstance(given, bytes):
        raise InvalidTypeError(f"normalize_string got {text_string!r}, which is bytes. Pass a str: decode it first.")
    text = _text(text_string, "normalize_string").lower()
    if unicode_to_ascii_convert:
        text = unicode_to_ascii(text)
    return re.sub(r"[^0-9a-zA-Z.!?]+", " ", re.sub(r"([.!?])", r" \1", text)).strip()


def str2bool(w: Any) -> bool:
    """Read a word as a truth value, in upper or lower case.

    Args:
        w: One of yes, true, t, y, 1 and no, false, f, n, 0. A truth value is returned as it is.

    Raises:
        InvalidArgumentError: Another word, or bytes.
        MissingAttributeError: It is nothing like text.
    """
    called("compat.nlp.core.str2bool")
    if isinstance(w, bool):
        return w
    word = w.lower() if isinstance(w, bytes) else _text(w, "str2bool").lower()
    if word not in _TRUE + _FALSE:
        raise InvalidArgumentError(
            f"Boolean value expected. str2bool got {w!r}; it reads {', '.join(_TRUE)} as true and {', '.join(_FALSE)}"
            " as false."
        )
    return word in _TRUE


def _text(value: Any, function: str) -> str:
    if not isinstance(value, str):
        raise MissingAttributeError(f"{function} got {value!r}, a {type(value).__name__}. It takes a str.")
    return value


def find_sub_list(sub_list: Any, main_list: Any) -> tuple[int, int] | None:
    """Find a sequence as a run of another one.

    Args:
        sub_list: The run to look for, of the same type as ``main_list``.
        main_list: Where to look.

    Returns:
        The indices of the first and the last element of the first such run; ``None`` if there is none.

    Raises:
        InvalidArgumentError: The run is longer than the sequence to look in.
    """
    called("compat.nlp.core.find_sub_list")
    length = len(sub_list)
    if length > len(main_list):
        raise InvalidArgumentError(
            "len(sub_list) > len(main_list); should be len(sub_list) <= len(main_list). "
            f"They are {length} and {len(main_list)}."
        )
    for start in range(len(main_list) - length + 1):
        # An empty run is nowhere: it has no first and no last element.
        if length and main_list[start : start + length] == sub_list:
            return start, start + length - 1
    return None
