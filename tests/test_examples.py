"""The programs of the migration guide run as their users would run them, and train what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "migration_guide" / "examples"
# In the old library its processes step one copy of the weights, in no fixed order (Q52).
RACING = "digits_processes.py"
# Has parts that the old library does not take.
MIXED = "digits_both_worlds.py"


def run(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "compat", "run", str(EXAMPLES / name)],
        cwd=folder,
        # Several tests at once, each with a thread for every core, would stand in each other's way.
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "a program that saves nothing leaves no files behind"
    return done


def number(label: str, output: str) -> float:
    """Find the one number that is printed after a label at the start of a line."""
    (found,) = re.findall(rf"^{re.escape(label)} (-?[\d.]+(?:e-?\d+)?)$", output, re.MULTILINE)
    return float(found)


def test_digits_cnn(tmp_path: Path) -> None:
    done = run("digits_cnn.py", tmp_path)
    assert number("test accuracy", done.stdout) > 0.95
    assert number("test loss", done.stdout) == pytest.approx(number("TEST LOSS:", done.stdout), abs=1e-4)

    epochs = re.findall(r"^epoch (\d+): loss ([\d.]+), validation loss ([\d.]+)$", done.stdout, re.MULTILINE)
    losses = [float(loss) for _, loss, _ in epochs]
    validation = [float(loss) for _, _, loss in epochs]
    assert [int(epoch) for epoch, _, _ in epochs] == list(range(len(epochs)))
    assert losses[-1] < losses[0] / 5
    # Early stopping, as it counts: the third epoch in a row without a new best ends the run.
    (stop,) = re.findall(r"^Early stopping at epoch: (\d+)\. Best recorded epoch: (\d+)\.$", done.stdout, re.MULTILINE)
    assert int(stop[0]) == len(epochs) - 1 == int(stop[1]) + 3
    assert min(validation) == validation[int(stop[1])]
    # The labels that old log parsers read, and the bars.
    for label in ("AVG BATCH ACCUMULATED TRAIN LOSS:", "TRAIN LOSS:", "VAL LOSS:", "Epoch:"):
        assert len(re.findall(rf"^{label} ", done.stdout, re.MULTILINE)) == len(epochs), label
    assert "Training: 100%" in done.stderr
    # The oddities at work in this program are named, and nothing else is warned about.
    assert set(re.findall(r"(\w*Warning: \w+)", done.stderr)) == {
        "QuirkWarning: Q18",
        "QuirkWarning: Q19",
        "QuirkWarning: Q69",
    }


def test_digits_cnn_is_the_same_every_time_and_can_be_quiet(tmp_path: Path) -> None:
    loud, quiet = run("digits_cnn.py", tmp_path), run("digits_cnn.py", tmp_path, COMPAT_QUIET="1")
    own_lines = [line for line in loud.stdout.splitlines() if re.match(r"epoch \d|test ", line)]
    assert quiet.stdout.splitlines() == own_lines
    assert "%|" not in quiet.stderr


def test_wine_iterations(tmp_path: Path) -> None:
    done = run("wine_iterations.py", tmp_path)
    assert "Stopping training after 240 training iterations. Current iteration index: 239" in done.stdout
    assert "trained 240 iterations in 15 epochs" in done.stdout
    assert number("validation accuracy", done.stdout) > 0.9


def test_digits_two_heads(tmp_path: Path) -> None:
    done = run("digits_two_heads.py", tmp_path)
    assert number("test accuracy", done.stdout) > 0.9
    assert number("mean error of the ink", done.stdout) < 0.1
    lines = done.stdout.splitlines()
    digit, ink = (next(line for line in lines if line.startswith(f"{name} loss")) for name in ("digit", "ink"))
    # Each under its own name: the classification starts far above the loss of a mean of pixels.
    assert float(digit.split()[2]) > float(ink.split()[2])


def test_cancer_metrics(tmp_path: Path) -> None:
    done = run("cancer_metrics.py", tmp_path)
    assert number("area under the curve", done.stdout) == number("area", done.stdout) > 0.98
    assert number("accuracy", done.stdout) > 0.94
    assert done.stdout.count("End of epoch performance report") == 3, "every second epoch"


def test_digits_processes(tmp_path: Path) -> None:
    done = run(RACING, tmp_path)
    (accuracy,) = re.findall(r"^test accuracy ([\d.]+) over 300 digits$", done.stdout, re.MULTILINE)
    assert float(accuracy) > 0.85
    reported = re.findall(r"^epoch (\d+): validation accuracy ([\d.]+)$", done.stdout, re.MULTILINE)
    assert [int(epoch) for epoch, _ in reported] == list(range(6)), "once an epoch, by one process"
    assert float(reported[-1][1]) > 0.9
    # What AIToolbox prints is printed by one process too.
    for label in ("AVG BATCH ACCUMULATED TRAIN LOSS:", "TRAIN LOSS:", "VAL LOSS:", "Epoch:"):
        assert len(re.findall(rf"^{label} ", done.stdout, re.MULTILINE)) == 6, label
    assert set(re.findall(r"(\w*Warning: \w+)", done.stderr)) == {
        "QuirkWarning: Q18",
        "QuirkWarning: Q19",
        "QuirkWarning: Q58",
    }
    assert run(RACING, tmp_path).stdout == done.stdout, "the same every time"


def test_digits_both_worlds(tmp_path: Path) -> None:
    done = run(MIXED, tmp_path)
    line = r"^epoch (\d+): validation loss ([\d.]+), accuracy ([\d.]+)$"
    epochs = re.findall(line, done.stdout, re.MULTILINE)
    assert [int(epoch) for epoch, _, _ in epochs] == list(range(len(epochs)))
    losses, accuracies = ([float(row[column]) for row in epochs] for column in (1, 2))
    # Lightning's early stopping, as it counts: the second epoch in a row without a new best ends the run.
    assert len(epochs) < 20
    assert losses.index(min(losses)) == len(losses) - 3
    # The old callback's accuracy, in Lightning's checkpoint.
    assert number("best accuracy", done.stdout) == max(accuracies)
    assert number("test accuracy", done.stdout) > 0.93
    # What the logger wrote is what the loop printed.
    printed = [float(loss) for loss in re.findall(r"^VAL LOSS: ([\d.]+)$", done.stdout, re.MULTILINE)]
    assert losses == [round(loss, 4) for loss in printed]
    assert set(re.findall(r"(\w*Warning: \w+)", done.stderr)) == {"QuirkWarning: Q18", "QuirkWarning: Q19"}


def test_control_a_failing_program_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No such file"):
        run("no_such_program.py", tmp_path)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted({path.name for path in EXAMPLES.glob("*.py")} - {RACING, MIXED}))
def test_prints_what_it_prints_on_the_old_library(name: str, tmp_path: Path, reference_python: Path) -> None:
    """To the last digit; but for the names of the two losses, which are right here (Q41)."""
    program = (EXAMPLES / name).read_text(encoding="utf-8")
    # Version 1.8, which runs here, has the modules that this program takes from where 1.3 had them.
    (tmp_path / name).write_text(program.replace("tl_components", "train_loop.components"), encoding="utf-8")
    as_before = {"OMP_NUM_THREADS": "1", "COMPAT_QUIRKS": "Q41=kept"}
    old = subprocess.run(
        [reference_python, name],
        cwd=tmp_path,
        env=os.environ | as_before,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert old.returncode == 0, old.stderr
    (tmp_path / name).unlink()
    assert run(name, tmp_path, **as_before).stdout == old.stdout
