"""The oddities: table, switches, warnings, and that each is counted only where it changes the outcome."""

import inspect
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import compat
from compat import AbstractCallback, TrainLoop, _ledger, quirks
from compat._surface import surface
from compat.exceptions import CompatWarning, DifferenceError, QuirkWarning
from compat.quirks import QUIRKS, QuirkSettings, themes
from tests.guide import differences
from tests.quirk_parts import Heads, mocked_hook
from tests.quirk_processes import TRIED
from tests.quirk_programs import PROGRAMS
from tests.toys import Linear, batches, data_loader, make_loop

# The lists of the decision on the old loop's oddities: numbers stay, and wrong is wrong.
KEPT = "Q01 Q02 Q05 Q07 Q10 Q11 Q13 Q17 Q18 Q19 Q21 Q24 Q42 Q43 Q45 Q46 Q58 Q69 Q70 Q88 Q91 Q92 Q121".split()  # noqa: SIM905
FIXED = "Q03 Q16 Q20 Q33 Q34 Q41 Q48 Q60 Q61 Q76 Q78 Q87".split()  # noqa: SIM905
CODE = {file: file.read_text(encoding="utf-8") for file in Path(compat.__file__).parent.rglob("*.py")}
SERVED = [row for row in QUIRKS.values() if row.state != "later"]
COUNTED = sorted((row.id for row in QUIRKS.values() if row.is_counted), key=lambda quirk: int(quirk[1:]))

change = [
    pytest.param(quirk, mode, index, id=f"{quirk}-{mode}-{index}")
    for quirk, programs in PROGRAMS.items()
    for mode in programs.modes
    for index in range(len(programs.changes))
]
rest = [
    pytest.param(quirk, mode, index, id=f"{quirk}-{mode}-{index}")
    for quirk, programs in PROGRAMS.items()
    for mode in programs.modes
    for index in range(len(programs.rests))
]


def tried(quirk: str, mode: str, program: Callable[[], Any]) -> list[tuple[str, int]]:
    """Run a program in a mode of a quirk.

    Returns:
        The modes that the quirk was counted in, and how often.
    """
    if QUIRKS[quirk].switch:
        quirks.set(**{quirk: mode})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuirkWarning)
        # Torch's own word on a scheduler that goes on although the first step was skipped.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        program()
    return [(entry.mode, entry.count) for entry in _ledger.entries() if entry.feature == quirk]


@pytest.mark.parametrize(("quirk", "mode", "index"), change)
def test_counter_grows_where_the_quirk_changes_the_outcome(quirk: str, mode: str, index: int) -> None:
    program, times = PROGRAMS[quirk].changes[index]
    assert tried(quirk, mode, program) == [(mode, times)]
    assert quirks.counts()[quirk] == times


@pytest.mark.parametrize(("quirk", "mode", "index"), rest)
def test_counter_rests_where_it_does_not(quirk: str, mode: str, index: int) -> None:
    assert tried(quirk, mode, PROGRAMS[quirk].rests[index]) == []
    assert quirk not in quirks.counts()


def test_every_counted_quirk_is_tried() -> None:
    # Those of several processes in test_quirks_processes.py.
    assert sorted([*PROGRAMS, *TRIED]) == sorted(COUNTED)


def test_every_mode_that_can_be_set_is_tried() -> None:
    for quirk, programs in PROGRAMS.items():
        # Kept, these two end in the old library's errors.
        expected = {"kept", "fixed"} if QUIRKS[quirk].switch and quirk not in {"Q45", "Q76"} else {programs.modes[0]}
        assert set(programs.modes) == expected, quirk
        assert QUIRKS[quirk].switch or programs.modes == (QUIRKS[quirk].default,), quirk


def test_what_is_counted_in_the_code_is_counted_in_the_table() -> None:
    code = "".join(CODE.values())
    met = set(re.findall(r'\b_?(?:met|happened|tell)\(\s*"(Q\d+)"', code))
    # Which of the two it is depends on the number of optimizers.
    met |= set(re.findall(r'quirk = [^\n]*"(Q4\d)" if', code)) | set(
        re.findall(r'"Q4\d" if [^\n]* else "(Q4\d)"', code)
    )
    # The callback holds both against its own other mode.
    met |= set(re.findall(r'for quirk, modes in \(\("(Q\d+)"', code)) | set(re.findall(r'waits\)\), \("(Q\d+)"', code))
    assert sorted(met) == sorted(COUNTED)


def test_what_is_switched_in_the_code_has_a_switch_in_the_table() -> None:
    code = "".join(CODE.values())
    read = set(re.findall(r'fixed\("(Q\d+)"\)', code)) | set(re.findall(r'"Q4\d" if [^\n]* else "(Q4\d)"', code))
    read |= set(re.findall(r'quirk = [^\n]*"(Q4\d)" if', code))
    assert sorted(read) == sorted(row.id for row in QUIRKS.values() if row.switch)


def test_table_holds_every_id() -> None:
    assert sorted(QUIRKS) == sorted(f"Q{number:02}" for number in range(1, 136))
    assert len(QUIRKS) == 135


@pytest.mark.parametrize("quirk", QUIRKS)
def test_rows_are_complete(quirk: str) -> None:
    row = QUIRKS[quirk]
    assert row.id == quirk
    assert row.default in {"kept", "fixed"}
    assert row.state in {"", "later"}
    assert row.theme in themes()
    for text in (row.title, row.kept, row.fixed):
        assert not text.endswith("."), text
    assert row.title
    assert row.kept
    for text in (row.note, row.uncounted):
        assert not text or text.endswith("."), text
    # What is corrected, or can be, says how; of what is not served yet nothing is promised.
    assert bool(row.fixed) == ((row.default == "fixed" or row.switch) and row.state != "later")
    assert not row.warns or row.default == "kept"
    assert row.state != "later" or not (row.switch or row.warns or row.uncounted)


def test_rows_of_names_that_are_served_are_not_for_later() -> None:
    listed = {
        quirk
        for row in surface().names.values()
        if row.is_served
        for quirk in (
            *row.quirks,
            *(q for member in row.members.values() if member.status != "later" for q in member.quirks),
        )
    }
    assert listed <= set(QUIRKS)
    # A name may be served before it can be sent to other processes.
    later = [quirk for quirk in sorted(listed) if QUIRKS[quirk].state == "later"]
    assert [quirk for quirk in later if QUIRKS[quirk].theme != "parallel"] == []


def test_guide_has_a_section_for_each_id_and_none_else() -> None:
    assert re.findall(r"^## (Q\d+)", differences.page(), re.MULTILINE) == [
        quirk for theme in themes() for quirk in QUIRKS if QUIRKS[quirk].theme == theme
    ]


def test_guide_says_of_each_id_what_the_table_says() -> None:
    sections = dict(re.findall(r"^## (Q\d+) (.*?)(?=^##? |\Z)", differences.page(), re.MULTILINE | re.DOTALL))
    for quirk, row in QUIRKS.items():
        flat = " ".join(sections[quirk].split())
        for text in filter(None, (row.title, row.kept[1:], row.fixed[1:], row.note)):
            assert text in flat, (quirk, text)
        assert (f'quirks.set({quirk}="' in flat) == bool(row.modes), quirk


@pytest.mark.parametrize(("quirk", "fixed"), [*[(quirk, False) for quirk in KEPT], *[(quirk, True) for quirk in FIXED]])
def test_defaults(quirk: str, fixed: bool) -> None:
    assert quirks.is_fixed(quirk) is fixed
    assert QuirkSettings().fixed(quirk) is fixed


def test_every_switch_has_a_decided_default() -> None:
    assert sorted(KEPT + FIXED) == sorted(quirk for quirk in QUIRKS if QUIRKS[quirk].switch)


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
            lambda: quirks.set(Q06="fixed"),
            ValueError,
            r"'Q06' is not a quirk with a switch\. It is always as in the old library\. Those are: Q01, Q02",
            id="always kept",
        ),
        pytest.param(
            lambda: quirks.set(Q26="kept"), ValueError, r"a switch\. It is always corrected\. Those", id="always fixed"
        ),
        pytest.param(
            lambda: quirks.set(Q95="fixed"), ValueError, "What it shows in is not served yet", id="not served yet"
        ),
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
        QuirkSettings().met("Q01")
    assert isinstance(caught[0].message, CompatWarning)
    text = str(caught[0].message)
    assert text.startswith(f"Q01: {QUIRKS['Q01'].kept}.")
    assert 'compat.quirks.set(Q01="fixed")' in text
    assert "COMPAT_QUIRKS=Q01=fixed" in text
    assert caught[0].filename == __file__


def test_warning_of_the_process_points_here() -> None:
    with pytest.warns(QuirkWarning, match=r"^Q121: a score is on it\. This is kept as it was in AIToolbox") as caught:
        quirks.met("Q121", "a score is on it")
    assert caught[0].filename == __file__


def test_warning_with_a_detail() -> None:
    with pytest.warns(QuirkWarning, match=r"^Q01: epoch 3 runs twice\. This is kept as it was in AIToolbox"):
        QuirkSettings().met("Q01", "epoch 3 runs twice")


def test_warning_without_a_switch() -> None:
    with pytest.warns(QuirkWarning) as caught:
        QuirkSettings().met("Q08")
    assert str(caught[0].message) == (
        'Q08: unknown keyword arguments of fit are ignored. compat.quirks.set(Q08="kept") ends this warning.'
    )


def test_one_warning_a_line_and_every_time_counted() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            QuirkSettings().met("Q01")
        QuirkSettings().met("Q01")
    assert len(caught) == 2
    assert quirks.counts() == {"Q01": 4}


class OwnEnd(TrainLoop):
    """A loop whose end of an epoch is the user's, so that a line of the user's lies between."""

    def auto_execute_end_of_epoch(self) -> None:
        """Do as ever."""
        super().auto_execute_end_of_epoch()


def test_fit_warns_once_for_each_quirk_and_at_the_line_of_the_fit() -> None:
    model, data = Linear(), data_loader(5, shuffle=True)
    loop = OwnEnd(model, data, None, None, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.MSELoss())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
        loop.fit(num_epochs=3, grad_accumulation=2)
    told = [(str(warning.message)[:3], warning.filename, warning.lineno) for warning in caught]
    assert told == [(quirk, __file__, line) for quirk in ("Q11", "Q18", "Q19")]
    assert quirks.counts() == {"Q11": 3, "Q19": 6, "Q18": 2}


def test_warning_ahead_of_time_counts_nothing_and_is_not_repeated() -> None:
    settings = QuirkSettings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings.foretell("Q11")
        assert quirks.counts() == {}
        settings.met("Q11")
    assert len(caught) == 1
    assert quirks.counts() == {"Q11": 1}


@pytest.mark.parametrize("mode", ["kept", "fixed"])
def test_no_warning_once_it_was_decided(mode: str) -> None:
    QuirkSettings({"Q01": mode}).met("Q01")
    QuirkSettings({"Q11": mode}).foretell("Q11")
    quirks.set(Q02=mode)
    QuirkSettings().met("Q02")
    assert quirks.counts() == {"Q01": 1, "Q02": 1}


@pytest.mark.parametrize("quirk", [row.id for row in SERVED if not row.warns])
def test_quirks_that_do_not_warn(quirk: str) -> None:
    quirks.met(quirk)
    assert quirks.counts() == {quirk: 1}


def test_strict_run_raises_where_the_outcome_is_corrected() -> None:
    _ledger.watch(strict=True)
    try:
        with pytest.raises(DifferenceError, match=r"^Q27: a criterion is moved .* if it can be moved; in AIToolbox"):
            tried("Q27", "fixed", PROGRAMS["Q27"].changes[0][0])
        with pytest.raises(
            RuntimeError, match=r"^Q11: .*\(the last window of an epoch has 1 batches, .*COMPAT_QUIRKS=Q11=kept"
        ):
            tried("Q11", "fixed", PROGRAMS["Q11"].changes[0][0])
        assert tried("Q11", "kept", PROGRAMS["Q11"].changes[0][0]) == [("fixed", 1), ("kept", 2)]
    finally:
        _ledger.unwatch()
    assert tried("Q27", "fixed", PROGRAMS["Q27"].changes[0][0]) == [("fixed", 2)]


def test_mock_for_a_hook_is_a_correction_in_any_mode() -> None:
    quirks.set(Q87="kept")
    assert tried("Q87", "kept", mocked_hook) == [("fixed", 1)]


def test_switches_of_the_two_that_leave_no_other_trace() -> None:
    for mode, training, steps in (("kept", False, 0), ("fixed", True, 3)):
        loop = make_loop(model=Heads("a"), criterion=torch.nn.NLLLoss(), quirks={"Q20": mode})
        with pytest.raises(RuntimeError):
            loop.evaluate_model_loss(batches())
        assert loop.model.training is training
        loop, plain = make_loop(quirks={"Q87": mode}), AbstractCallback("plain")
        loop.callbacks_handler.register_callbacks([plain])
        batches_seen: list[int] = []
        plain.on_batch_end = partial(batches_seen.append, 1)  # type: ignore[method-assign]
        loop.fit(num_epochs=1)
        assert len(batches_seen) == steps


def test_reset_counts_from_zero() -> None:
    quirks.met("Q26")
    quirks.reset()
    assert quirks.counts() == {}
