"""Trainings in several processes that begin when their file is imported."""

from pathlib import Path

import pytest

from compat.migrate import check
from tests.migrate.reading import remarks, write

HEAD = "from aitoolbox import TrainLoop\n"
LOOP = "l = TrainLoop(m, gpu_mode='ddp')\n"


def told(folder: Path, code: str) -> list[int]:
    """Return the lines below the head that are remarked on."""
    found = [text.partition(": ") for text in remarks(folder, HEAD + code)]
    return [int(line) - 1 for line, _, text in found if "imports this file" in text]


@pytest.mark.parametrize(
    "code",
    [
        LOOP + "if __name__ == '__main__':\n    l.fit(5)",
        LOOP + "if '__main__' == __name__ and ready():\n    for seed in 1, 2:\n        l.fit(5)",
        "def main():\n    l = TrainLoop(m, gpu_mode='ddp')\n    l.fit(5)\nif __name__ == '__main__':\n    main()",
        "def main():\n    TrainLoop(m, gpu_mode='ddp').fit(5)",
        LOOP + "def main(): l.fit(5)\nmain.started = True",
        "l = TrainLoop(m, gpu_mode='dp')\nl.fit(5)",
        "l = TrainLoop(m)\nl.fit(5)",
        LOOP + "l.evaluate_loss_on_train_set()",
        LOOP + "run = lambda: l.fit(5)",
    ],
)
def test_what_only_the_program_itself_starts_is_no_remark(code: str, tmp_path: Path) -> None:
    assert told(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (LOOP + "l.fit(5)", 2),
        (LOOP + "if ready():\n    l.fit(5)", 3),
        (LOOP + "if __name__ == '__main__':\n    pass\nelse:\n    l.fit(5)", 5),
        ("TrainLoop(m, gpu_mode='ddp').fit(5)", 1),
        ("class A(TrainLoop): pass\nA(m, gpu_mode='ddp').fit(5)", 2),
        ("class A:\n    TrainLoop(m, gpu_mode='ddp').fit(5)", 2),
        ("def main():\n    l = TrainLoop(m, gpu_mode='ddp')\n    l.fit(5)\nmain()", 3),
        ("def a():\n    b()\ndef b():\n    a()\n    TrainLoop(m, gpu_mode='ddp').fit(5)\nx = a()", 5),
    ],
)
def test_what_an_import_starts_is_a_remark_at_its_line(code: str, line: int, tmp_path: Path) -> None:
    assert told(tmp_path, code) == [line]


def test_a_notebook_is_imported_by_nobody(tmp_path: Path) -> None:
    cell = (HEAD + LOOP + "l.fit(5)").replace("\n", "\\n")
    text = f'{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{cell}"}}]}}'
    report = check([str(write(tmp_path, "a.ipynb", text))])
    assert any(found.name.endswith("TrainLoop.fit") for found in report.findings)
    assert not any("imports this file" in remark.text for remark in report.remarks)
