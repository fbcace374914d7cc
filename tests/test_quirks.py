"""The switches of the deliberate oddities."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from compat import quirks
from compat.exceptions import CompatWarning, QuirkWarning
from compat.quirks import QUIRKS, QuirkSettings

# The lists of the decision on the old loop's oddities: numbers stay, and wrong is wrong.
KEPT = "Q01 Q02 Q05 Q07 Q10 Q11 Q13 Q17 Q18 Q19 Q21 Q24 Q42 Q43 Q46 Q69 Q70 Q88 Q91 Q92".split()  # noqa: SIM905
FIXED = "Q03 Q16 Q34 Q41 Q48 Q78".split()  # noqa: SIM905


@pytest.mark.parametrize("quirk", QUIRKS)
def test_rows_are_complete(quirk: str) -> None:
    row = QUIRKS[quirk]
    assert row.id == quirk
    assert re.fullmatch(r"Q\d\d\d?", quirk)
    assert row.default in {"kept", "fixed"}
    assert row.kept
    assert not row.kept.endswith(".")
    assert row.default == "kept" or row.fixed


@pytest.mark.parametrize(("quirk", "fixed"), [*[(quirk, False) for quirk in KEPT], *[(quirk, True) for quirk in FIXED]])
def test_defaults(quirk: str, fixed: bool) -> None:
    assert quirks.is_fixed(quirk) is fixed
    assert QuirkSettings().fixed(quirk) is fixed


def test_nearer_switch_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_QUIRKS", "Q01=fixed, Q11=fixed,")
    assert quirks.is_fixed("Q01")
    assert quirks.is_fixed("Q11")
    quirks.set(Q01="kept")
    assert not quirks.is_fixed("Q01")
    assert QuirkSettings({"Q01": "fixed"}).fixed("Q01")
    assert not quirks.is_fixed("Q01")
    quirks.reset()
    assert quirks.is_fixed("Q01")


def test_settings_keep_a_copy_of_the_switches() -> None:
    switches = {"Q01": "fixed"}
    settings = QuirkSettings(switches)
    switches["Q01"] = "kept"
    assert settings.fixed("Q01")


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        pytest.param(lambda: quirks.set(Q999="fixed"), ValueError, "compat.quirks.set: 'Q999' is not a quirk", id="id"),
        pytest.param(
            lambda: quirks.set(Q08="fixed"),
            ValueError,
            "Q08 cannot be corrected. 'kept' ends its warning",
            id="no switch",
        ),
        pytest.param(
            lambda: quirks.set(Q01="on"), ValueError, "Q01='on' is not a mode. Use 'kept' or 'fixed'", id="mode"
        ),
        pytest.param(
            lambda: QuirkSettings({"Q1": "kept"}),
            ValueError,
            r"TrainLoop\(quirks=\): 'Q1' is not a quirk",
            id="of a loop",
        ),
        pytest.param(
            lambda: QuirkSettings("Q01"),  # type: ignore[arg-type]
            TypeError,
            r"quirks='Q01' is a str\. Pass a dict",
            id="not a mapping",
        ),
    ],
)
def test_switches_that_will_not_do(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_environment_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_QUIRKS", "Q01=maybe")
    with pytest.raises(ValueError, match="COMPAT_QUIRKS: Q01='maybe' is not a mode"):
        quirks.is_fixed("Q01")


def test_nothing_is_set_when_one_will_not_do() -> None:
    with pytest.raises(ValueError, match="Q999"):
        quirks.set(Q01="fixed", Q999="fixed")
    assert not quirks.is_fixed("Q01")


def test_warning_names_the_switch_and_points_here() -> None:
    with pytest.warns(QuirkWarning) as caught:
        QuirkSettings().warn("Q01")
    assert isinstance(caught[0].message, CompatWarning)
    text = str(caught[0].message)
    assert text.startswith(f"Q01: {QUIRKS['Q01'].kept}.")
    assert 'compat.quirks.set(Q01="fixed")' in text
    assert "COMPAT_QUIRKS=Q01=fixed" in text
    assert caught[0].filename == __file__


def test_warning_with_a_detail() -> None:
    with pytest.warns(QuirkWarning, match=r"^Q01: epoch 3 runs twice\. As in the old loop"):
        QuirkSettings().warn("Q01", "epoch 3 runs twice")


def test_warning_without_a_switch() -> None:
    with pytest.warns(QuirkWarning) as caught:
        QuirkSettings().warn("Q08")
    assert str(caught[0].message) == (
        'Q08: unknown keyword arguments of fit are ignored. compat.quirks.set(Q08="kept") ends this warning.'
    )


def test_one_warning_a_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            QuirkSettings().warn("Q01")
        QuirkSettings().warn("Q01")
    assert len(caught) == 2


@pytest.mark.parametrize("mode", ["kept", "fixed"])
def test_no_warning_once_it_was_decided(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QuirkSettings({"Q01": mode}).warn("Q01")
        quirks.set(Q02=mode)
        QuirkSettings().warn("Q02")
