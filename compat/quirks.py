"""The deliberate oddities of the old loop: their ids, their switches, their warnings, and how often they struck.

A quirk is *kept* when the loop does what the old one did, and *fixed* when it does what is right. Where numbers of a
program that runs would change, kept is the default and the quirk warns once at the user's line. Three switches, the
nearer one wins:

* one loop: ``TrainLoop(..., quirks={"Q01": "fixed"})``
* this process: ``compat.quirks.set(Q01="fixed")``
* one run: the environment variable ``COMPAT_QUIRKS=Q01=fixed,Q11=fixed``

:func:`counts` tells which of them changed the outcome of this process. The texts are in ``quirks.toml``.
"""

import builtins
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from compat import _ledger
from compat.exceptions import InvalidArgumentError, InvalidTypeError, QuirkWarning

__all__ = [
    "QUIRKS",
    "Quirk",
    "QuirkSettings",
    "check_environment",
    "counts",
    "is_fixed",
    "met",
    "modes",
    "reset",
    "set",
    "themes",
]

_ENVIRONMENT = "COMPAT_QUIRKS"
_MODES = ("kept", "fixed")


@dataclass(frozen=True)
class Quirk:
    """One oddity of the old library.

    Attributes:
        id: ``Q`` and two or three digits.
        default: ``kept`` or ``fixed``.
        kept: What the old library does.
        fixed: What the correction does; empty where there is none.
        title: A line for a report.
        theme: What it is about; one of :func:`themes`.
        switch: Whether it can be set to either mode.
        warns: Whether it warns where it is kept and changes the outcome.
        uncounted: Why it has no counter; empty if it has one.
        state: ``later`` if it shows only in names that are not served yet.
        note: Who is touched, and what to do.
    """

    id: str
    default: str
    kept: str
    fixed: str = ""
    title: str = ""
    theme: str = ""
    switch: bool = False
    warns: bool = False
    uncounted: str = ""
    state: str = ""
    note: str = ""

    @property
    def is_counted(self) -> bool:
        """Whether the counter grows when the quirk changes the outcome."""
        return not self.uncounted and self.state != "later"

    @property
    def modes(self) -> tuple[str, ...]:
        """What it can be set to; ``kept`` alone ends a warning, and nothing means that there is no switch."""
        if self.switch:
            return _MODES
        return ("kept",) if self.warns else ()


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    # Here and not above: whoever only imports the package should not pay for reading the table.
    import tomllib
    from importlib import resources

    return tomllib.loads(resources.files("compat").joinpath("quirks.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _rows() -> Mapping[str, Quirk]:
    return {quirk: Quirk(quirk, **row) for quirk, row in _table().items() if quirk != "themes"}


def themes() -> dict[str, str]:
    """Return what quirks are about: titles by the short name that :class:`Quirk` gives as ``theme``."""
    return dict(_table()["themes"])


class _Quirks(Mapping[str, Quirk]):
    """The table, read when somebody first looks."""

    def __getitem__(self, quirk: str) -> Quirk:
        return _rows()[quirk]

    def __iter__(self) -> Iterator[str]:
        return iter(_rows())

    def __len__(self) -> int:
        return len(_rows())


QUIRKS: Mapping[str, Quirk] = _Quirks()

_process: dict[str, str] = {}
_warned: builtins.set[tuple[str, str, int]] = builtins.set()


def set(**modes: str) -> None:
    """Set quirks for this process.

    Args:
        modes: ``Q01="fixed"``, ``Q11="kept"`` and so on.

    Raises:
        InvalidArgumentError: An id without a switch, or a mode other than ``kept`` and ``fixed``. Nothing is set then.
    """
    _process.update(_checked(modes, "compat.quirks.set"))


def reset() -> None:
    """Forget what :func:`set` set for this process and which warnings were given, and count from zero."""
    _process.clear()
    _warned.clear()
    _ledger.clear("quirk")


def check_environment() -> None:
    """Look at the switches of the run early.

    Raises:
        InvalidArgumentError: An id without a switch, or a mode other than ``kept`` and ``fixed``.
    """
    _from_environment(os.environ.get(_ENVIRONMENT, ""))


def modes() -> dict[str, str]:
    """Return what :func:`set` was given in this process."""
    return dict(_process)


def is_fixed(quirk: str) -> bool:
    """Tell whether a quirk is corrected in this process, whatever a single loop says of it."""
    return _mode(quirk, {}) == "fixed"


def counts() -> dict[str, int]:
    """Return how often each quirk changed the outcome in this process, be it kept or corrected."""
    found: dict[str, int] = {}
    for entry in _ledger.entries():
        if entry.kind == "quirk":
            found[entry.feature] = found.get(entry.feature, 0) + entry.count
    return found


def met(quirk: str, detail: str = "") -> None:
    """Count that a quirk changed the outcome here; where it is kept and warns, warn once for each of the user's lines.

    Args:
        quirk: The id.
        detail: What happens in this run, where the table's text is too general.

    Raises:
        DifferenceError: It is corrected, and the run is strict.
    """
    _met(quirk, detail, {})


class QuirkSettings:
    """The quirks of one loop: its own switches, then those of the process, the run and the table.

    Args:
        switches: Modes by id, such as ``{"Q01": "fixed"}``.

    Raises:
        InvalidTypeError: ``switches`` is not a mapping.
        InvalidArgumentError: An id without a switch, or a mode other than ``kept`` and ``fixed``.
    """

    def __init__(self, switches: Mapping[str, str] | None = None) -> None:
        """Check the switches and keep a copy."""
        if switches is not None and not isinstance(switches, Mapping):
            raise InvalidTypeError(
                f"quirks={switches!r} is a {type(switches).__name__}. Pass a dict, such as quirks={{'Q01': 'fixed'}}."
            )
        self._switches = _checked(switches or {}, "TrainLoop(quirks=)")
        self._foretold: builtins.set[str] = builtins.set()
        # Early: a mistake in the environment should not wait for the first fit.
        check_environment()

    def fixed(self, quirk: str) -> bool:
        """Tell whether the quirk is corrected for this loop."""
        return _mode(quirk, self._switches) == "fixed"

    def met(self, quirk: str, detail: str = "") -> None:
        """Count that a quirk changed the outcome; where it is kept and warns, warn unless that was foretold.

        Args:
            quirk: The id.
            detail: What happens in this run, where the table's text is too general.

        Raises:
            DifferenceError: It is corrected, and the run is strict.
        """
        _met(quirk, detail, self._switches, warns=quirk not in self._foretold)

    def foretell(self, quirk: str, detail: str = "") -> None:
        """Warn that a kept quirk is about to change the outcome, while there is time; :meth:`met` counts it if it does.

        Args:
            quirk: The id.
            detail: What will happen in this run, where the table's text is too general.
        """
        self._foretold.add(quirk)
        if not self.fixed(quirk):
            _warn(quirk, detail, self._switches)


def _met(quirk: str, detail: str, switches: Mapping[str, str], *, warns: bool = True) -> None:
    mode, row = _mode(quirk, switches), QUIRKS[quirk]
    _ledger.happened(quirk, mode, detail, _difference(row, detail) if mode == "fixed" else "")
    if warns and mode == "kept":
        _warn(quirk, detail, switches)


def _difference(row: Quirk, detail: str) -> str:
    """Say what a strict run stops at, and how to go on."""
    text = f"{row.id}: {row.fixed}{f' ({detail})' if detail else ''}; in AIToolbox {row.kept}. This run is strict."
    if row.switch:
        return f"{text} {_ENVIRONMENT}={row.id}=kept brings the old result back; without --strict it is the new one."
    return f"{text} Run without --strict to go on."


def _warn(quirk: str, detail: str, switches: Mapping[str, str]) -> None:
    row = QUIRKS[quirk]
    if not row.warns or _stated(quirk, switches) is not None:
        return
    text = f"{quirk}: {detail or row.kept}."
    if row.switch:
        text += (
            f" This is kept as it was in AIToolbox. {_ENVIRONMENT}={quirk}=fixed corrects it, as does"
            f' compat.quirks.set({quirk}="fixed"); "kept" there ends this warning.'
        )
    else:
        text += f' compat.quirks.set({quirk}="kept") ends this warning.'
    stacklevel, filename, line = _ledger.user_frame()
    if (quirk, filename, line) in _warned:
        return
    _warned.add((quirk, filename, line))
    warnings.warn(text, QuirkWarning, stacklevel=stacklevel)


def _mode(quirk: str, switches: Mapping[str, str]) -> str:
    return _stated(quirk, switches) or QUIRKS[quirk].default


def _stated(quirk: str, switches: Mapping[str, str]) -> str | None:
    """Return what was said about a quirk: of the loop, else of the process, else of the run."""
    for said in (switches, _process, _from_environment(os.environ.get(_ENVIRONMENT, ""))):
        if quirk in said:
            return said[quirk]
    return None


@lru_cache(maxsize=8)
def _from_environment(text: str) -> Mapping[str, str]:
    modes: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        quirk, _, mode = part.partition("=")
        modes[quirk.strip()] = mode.strip()
    return _checked(modes, _ENVIRONMENT)


def _checked(modes: Mapping[str, str], place: str) -> dict[str, str]:
    for quirk, mode in modes.items():
        row = QUIRKS.get(quirk)
        if row is None or not row.modes:
            raise InvalidArgumentError(f"{place}: {quirk!r} is not a quirk with a switch. {_why_no_switch(row)}")
        if mode not in _MODES:
            raise InvalidArgumentError(f"{place}: {quirk}={mode!r} is not a mode. Use 'kept' or 'fixed'.")
        if mode not in row.modes:
            raise InvalidArgumentError(f"{place}: {quirk} cannot be corrected. 'kept' ends its warning.")
    return dict(modes)


def _why_no_switch(row: Quirk | None) -> str:
    known = ", ".join(quirk for quirk, other in QUIRKS.items() if other.modes)
    those = f"Those are: {known}."
    if row is None:
        return those
    if row.state == "later":
        return f"What it shows in is not served yet. {those}"
    always = "corrected" if row.default == "fixed" else "as in the old library"
    return f"It is always {always}. {those}"
