"""What a run says at its end: which features it used, who served them, and where the outcome was corrected."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compat._dropin.report import DIFFERS, EMULATED, HOW, NATIVE, REFUSED, Row, as_json, rows, table
from compat._ledger import Entry, Place
from tests._dropin.processes import PROGRAMS, SERVED, run

HERE = (Place("train.py", 7, 2), Place("other.py", 9, 1))


def name(feature: str) -> Entry:
    return Entry(feature, "name", "", "", 3, HERE)


def quirk(feature: str, mode: str, detail: str = "") -> Entry:
    return Entry(feature, "quirk", mode, detail, 3, HERE)


@pytest.mark.parametrize(
    ("entry", "feature", "how"),
    [
        (name("compat.train_loop.TrainLoop"), "TrainLoop", NATIVE),
        (name("compat.train_loop.TrainLoop.fit"), "TrainLoop.fit", NATIVE),
        (name("compat.train_loop.TrainLoop.predict_on_test_set"), "TrainLoop.predict_on_test_set", EMULATED),
        (name("compat.callbacks.stopping.EarlyStopping"), "EarlyStopping", EMULATED),
        (name("aitoolbox.torchtrain.callbacks.model_save.ModelCheckpoint"), "ModelCheckpoint", REFUSED),
        (Entry("aitoolbox.kerastrain", "refused", "", "It is gone.", 3, HERE), "aitoolbox.kerastrain", REFUSED),
        (quirk("Q41", "fixed"), "Q41", DIFFERS),
        (quirk("Q11", "kept"), "Q11", EMULATED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_for_an_entry(entry: Entry, feature: str, how: str) -> None:
    (row,) = rows([entry])
    assert row.feature.startswith(feature)
    assert (row.how, row.count, row.places) == (how, 3, HERE)
    assert row.how in HOW


def test_the_detail_of_a_quirk_is_what_is_done_and_what_happened() -> None:
    (general,) = rows([quirk("Q41", "fixed")])
    assert "own name" in general.detail
    (said,) = rows([quirk("Q41", "fixed", "the losses are b, a")])
    assert said.detail == f"{general.detail} (the losses are b, a)"
    (kept,) = rows([quirk("Q11", "kept")])
    assert "full window size" in kept.detail


def test_what_differs_comes_first() -> None:
    found = rows([name("compat.train_loop.TrainLoop"), quirk("Q11", "kept"), quirk("Q41", "fixed")])
    assert [row.how for row in found] == [DIFFERS, NATIVE, EMULATED]


def test_the_table() -> None:
    found = [
        Row("Q41 names", "Q41", DIFFERS, "names are right", 12, HERE),
        Row("TTModel", "a.TTModel", EMULATED, "", 1, ()),
    ]
    assert table(found).splitlines() == [
        "compat: 2 features of AIToolbox used: 1 emulated, 1 differs",
        "  feature    how       count  first at",
        "  Q41 names  differs      12  train.py:7",
        "  TTModel    emulated      1  -",
        "  Q41: names are right",
    ]


def test_files_below_the_folder_are_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside = Row("A", "A", EMULATED, "", 1, (Place(str(tmp_path / "x" / "y.py"), 3, 1),))
    outside = Row("B", "B", EMULATED, "", 1, (Place("/elsewhere/z.py", 4, 1),))
    assert [line.split()[-1] for line in table([inside, outside]).splitlines()[2:]] == ["x/y.py:3", "/elsewhere/z.py:4"]


def test_the_report_of_a_program_that_uses_nothing() -> None:
    assert as_json([], ["x.py"], strict=True) == {
        "version": 1,
        "program": ["x.py"],
        "strict": True,
        "totals": dict.fromkeys(HOW, 0),
        "features": [],
    }


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Run an old program; what it reported, and its stderr."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copy(PROGRAMS / "digits.py", folder)
    done = run(*SERVED, "--report", "out.json", "digits.py", "stale", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text(encoding="utf-8")), done.stderr


def test_the_features_of_an_old_program(reported: tuple[dict[str, Any], str]) -> None:
    report, _ = reported
    found = {line["feature"].split()[0]: (line["how"], line["count"]) for line in report["features"]}
    assert found["TrainLoop.fit"] == (NATIVE, 2)
    assert found["TrainLoop.predict_on_validation_set"] == (EMULATED, 1)
    assert found["EarlyStopping"][0] == EMULATED
    assert found["TTModel"][0] == EMULATED
    assert found["Q16"] == (DIFFERS, 1)
    assert found["Q19"][0] == EMULATED, "kept: as it was"
    assert "TrainLoopCheckpoint" not in found, "a star import uses nothing yet"
    assert report["totals"][DIFFERS] == 1


def test_the_places_are_lines_of_the_program(reported: tuple[dict[str, Any], str]) -> None:
    report, _ = reported
    lines = (PROGRAMS / "digits.py").read_text(encoding="utf-8").splitlines()
    for line in report["features"]:
        for place in line["places"]:
            assert Path(place["file"]).name == "digits.py", line
    (fits,) = (line for line in report["features"] if line["feature"] == "TrainLoop.fit")
    assert all("loop.fit(" in lines[place["line"] - 1] for place in fits["places"])
    assert len(fits["places"]) == 2


def test_the_table_comes_last_on_stderr(reported: tuple[dict[str, Any], str]) -> None:
    _, stderr = reported
    said = stderr[stderr.index("compat: ") :].splitlines()
    assert said[0].endswith("1 differs")
    assert said[2].startswith("  Q16 ")
    assert "digits.py:" in said[2]


def test_strict_makes_a_correction_an_error(tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "digits.py", tmp_path)
    done = run(*SERVED, "--strict", "--report", "out.json", "digits.py", "stale", folder=tmp_path)
    assert done.returncode == 1
    assert "compat.exceptions.DifferenceError: Q16" in done.stderr
    last = next(line for line in done.stderr.splitlines() if "DifferenceError: Q16" in line)
    assert last.endswith("COMPAT_QUIRKS=Q16=kept brings the old result back; without --strict it is the new one.")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["strict"] is True
    assert run(*SERVED, "--strict", "digits.py", folder=tmp_path).returncode == 0, "kept oddities are no difference"


def test_silence(tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "digits.py", tmp_path)
    done = run(*SERVED, "--report", "out.json", "digits.py", folder=tmp_path, COMPAT_QUIET="1", PYTHONWARNINGS="ignore")
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "out.json").exists()
    assert list(tmp_path.glob("*.unfinished")) == []


def native(part: str, detail: str = "") -> Entry:
    return Entry(part, "native", "", detail, 1, HERE)


def test_parts_of_lightning_are_lines_of_their_own_and_say_what_they_make_of_the_step() -> None:
    found = rows(
        [
            name("compat.train_loop.TrainLoop"),
            native("lightning.pytorch.callbacks.early_stopping.EarlyStopping"),
            native("__main__.Mine"),
            native("training step", "every batch, for Mine.on_train_batch_end. It takes longer"),
        ]
    )
    text = table(found)
    assert text.startswith("compat: 1 feature of AIToolbox and 2 parts of Lightning used: 4 native Lightning\n")
    assert "training step: every batch, for Mine.on_train_batch_end. It takes longer" in text
    assert [row.feature for row in found[1:]] == ["EarlyStopping", "Mine", "training step"]
    assert all(row.how == NATIVE for row in found)
