"""Whole checks: a messy project with its uses written down by hand, broken programs, and what is loaded."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from compat.migrate import Report, check
from tests.migrate.reading import brief, write

NOTEBOOK = {
    "nbformat": 4,
    "cells": [
        {"cell_type": "markdown", "source": "# aitoolbox"},
        {"cell_type": "code", "source": "%matplotlib inline\nfrom project.core import TrainLoop as Loop, Net"},
        {"cell_type": "code", "source": "print 'oops'"},
        {"cell_type": "code", "source": "loop = Loop(Net())\n%time loop.fit(1)"},
    ],
}
FILES: dict[str, str | bytes] = {
    "project/__init__.py": "",
    "project/core/__init__.py": """
        '''Everything that uses aitoolbox.TrainLoop goes through here.'''
        from aitoolbox.torchtrain.train_loop import *  # TrainLoop
        from .models import Net

        __all__ = ["Net", "TrainLoop"]
    """,
    "project/core/models.py": """
        import torch
        from aitoolbox.torchtrain.model import TTModel as Base, ModelWrap


        class Net(Base):
            def __init__(self, TTModel=None):
                super().__init__()
                self.TTModel = TTModel

            def get_loss(self, batch_data, criterion, device):
                return self.TTModel

            def forward(self, x):
                return x


        class TTModel(torch.nn.Module):
            def get_loss(self):
                return TTModel
    """,
    "project/callbacks.py": """
        import aitoolbox.torchtrain.callbacks.abstract as abstract
        from aitoolbox.torchtrain.callbacks import basic


        class Stop(abstract.AbstractCallback):
            def __init__(self):
                super().__init__("stop")

            def on_epoch_end(self):
                if self.train_loop_obj.epoch > 3:
                    self.train_loop_obj.early_stop = True
                    self.message_service.read_messages("x")

            def on_nothing(self):
                pass


        def both(patience=basic.EarlyStopping):
            return [Stop(), patience()]
    """,
    "train.py": """
        #!/usr/bin/env python
        from project.callbacks import both
        from project.core import Net, TrainLoop
        from keras.callbacks import EarlyStopping, ModelCheckpoint

        if __name__ == "__main__":
            loop = TrainLoop(Net(), None, None, None, None, None)
            loop.fit(10, callbacks=both() + [EarlyStopping()])
            print(loop.train_history["loss"], "loop.fit")
    """,
    "old.py": """
        try:
            from aitoolbox.torchtrain.tl_components.callback_handler import CallbacksHandler
        except ImportError:
            CallbacksHandler = None
        from aitoolbox.kerastrain.train_loop import TrainLoop
        from aitoolbox.torchtrain.data.dataset import ListDatasets, np


        def handler(aitoolbox):
            aitoolbox.TrainLoop
            return CallbacksHandler or TrainLoop
    """,
    "tests/test_train.py": """
        from unittest import mock

        import pytest

        aitoolbox = pytest.importorskip("aitoolbox")


        @mock.patch("aitoolbox.torchtrain.train_loop.train_loop.TrainLoop.fit")
        def test_it(fit, TrainLoop=aitoolbox.TrainLoop):
            TrainLoop(1)
            # aitoolbox.TrainLoop
            "aitoolbox.TrainLoop"
            fit("the aitoolbox.TrainLoop")
    """,
    "dynamic.py": """
        import importlib, sys

        name = sys.argv[1]
        importlib.import_module("aitoolbox." + name)
        def load(path="aitoolbox.torchtrain"):
            return importlib.import_module(path)
        importlib.import_module("aitoolbox2")
    """,
    "near.py": """
        import aitoolbox2
        from my_aitoolbox import TTModels
        import other
        other.TrainLoop().fit()
        class AIToolbox: TrainLoop = 1
        AIToolbox.TrainLoop
    """,
    "python2.py": "from aitoolbox import TrainLoop\nprint 'hello', TrainLoop\n",
    "latin.py": b"# caf\xe9\nfrom aitoolbox import TTModel\n",
    "null.py": b"import aitoolbox\n\0\n",
    "plain.py": "print 'no use'\n",
    "book.ipynb": json.dumps(NOTEBOOK),
    "broken.ipynb": '{"aitoolbox": ',
    "env/pyvenv.cfg": "",
    "env/lib/a.py": "import aitoolbox",
    ".git/hook.py": "import aitoolbox",
    "notes.txt": "from aitoolbox import TrainLoop",
}
# Every use in these files, read off by hand.
USES = """
book.ipynb: [2] 2:26 import TrainLoop
book.ipynb: [4] 1:8 reference TrainLoop
book.ipynb: [4] 2:12 member TrainLoop.fit
latin.py: 2:23 import TTModel
old.py: 2:69 import CallbacksHandler
old.py: 5:45 import aitoolbox.kerastrain.train_loop.TrainLoop
old.py: 6:47 import aitoolbox.torchtrain.data.dataset.ListDatasets
old.py: 6:61 import aitoolbox.torchtrain.data.dataset.np
old.py: 11:12 reference CallbacksHandler
old.py: 11:32 reference aitoolbox.kerastrain.train_loop.TrainLoop
project/callbacks.py: 1:8 import aitoolbox.torchtrain.callbacks.abstract
project/callbacks.py: 2:44 import aitoolbox.torchtrain.callbacks.basic
project/callbacks.py: 5:12 subclass AbstractCallback
project/callbacks.py: 7:17 member AbstractCallback.__init__
project/callbacks.py: 9:5 override AbstractCallback.on_epoch_end
project/callbacks.py: 10:17 member AbstractCallback.train_loop_obj
project/callbacks.py: 10:32 member TrainLoop.epoch
project/callbacks.py: 11:18 member AbstractCallback.train_loop_obj
project/callbacks.py: 11:33 member TrainLoop.early_stop
project/callbacks.py: 12:18 member AbstractCallback.message_service
project/callbacks.py: 12:34 member MessageService.read_messages
project/callbacks.py: 18:19 reference EarlyStopping
project/core/__init__.py: 2:45 star import aitoolbox.torchtrain.train_loop
project/core/models.py: 2:40 import TTModel
project/core/models.py: 2:57 import ModelWrap
project/core/models.py: 5:11 subclass TTModel
project/core/models.py: 7:17 member TTModel.__init__
project/core/models.py: 10:5 override TTModel.get_loss
tests/test_train.py: 5:33 dynamic import aitoolbox
tests/test_train.py: 8:13 string TrainLoop.fit
tests/test_train.py: 9:28 reference TrainLoop
train.py: 3:31 import TrainLoop
train.py: 7:12 reference TrainLoop
train.py: 8:10 member TrainLoop.fit
train.py: 9:16 member TrainLoop.train_history
""".strip().splitlines()
UNREADABLE = ["book.ipynb", "broken.ipynb", "latin.py", "null.py", "python2.py"]
CLEAN = "from compat import TrainLoop\nimport aitoolbox2\n"


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A project as one finds them: stars, aliases, notebooks, old Python, broken files, loops of links."""
    for name, code in FILES.items():
        write(tmp_path, name, code)
    (tmp_path / "project" / "loop").symlink_to(tmp_path)
    (tmp_path / "again.py").symlink_to(tmp_path / "old.py")
    return tmp_path


def shown(report: Report, folder: Path) -> list[str]:
    return [f"{Path(f.place.path).relative_to(folder).as_posix()}: {brief(f)}" for f in report.findings]


def test_every_use_of_a_messy_project_is_found_once(messy: Path) -> None:
    report = check([str(messy)])
    assert shown(report, messy) == USES
    assert [Path(problem.path).relative_to(messy).as_posix() for problem in report.unreadable] == UNREADABLE
    assert (report.files, report.skipped, report.exit_code) == (15, 2, 2)
    assert [Path(program).name for program in report.programs] == ["train.py"]


def test_remarks_on_a_messy_project(messy: Path) -> None:
    (remark,) = check([str(messy)]).remarks
    assert (Path(remark.place.path).name, remark.place.line) == ("dynamic.py", 4)


def test_the_same_paths_twice_change_nothing(messy: Path) -> None:
    twice = check([str(messy), str(messy / "train.py"), str(messy / "project")])
    assert shown(twice, messy) == USES


def test_the_lines_of_what_cannot_be_read(messy: Path) -> None:
    said = {Path(problem.path).name: problem for problem in check([str(messy)]).unreadable}
    assert [mention.line for mention in said["python2.py"].mentions] == [1]
    assert said["book.ipynb"].cell == 3
    assert said["null.py"].mentions[0].code == "import aitoolbox"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"a.py": CLEAN}, 0),
        ({}, 0),
        ({"a.py": "import aitoolbox"}, 1),
        ({"a.py": "import aitoolbox", "b.py": "import aitoolbox\n("}, 2),
        ({"b.py": "import aitoolbox\n("}, 2),
        ({"b.py": "("}, 0),
    ],
)
def test_exit_codes(files: dict[str, str], code: int, tmp_path: Path) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    assert check([str(tmp_path)]).exit_code == code


def test_broken_programs_never_break_a_check(tmp_path: Path) -> None:
    """Cut, torn and mixed programs: each check ends with a report, and whole ones among them keep their uses."""
    rng = random.Random(7)
    whole = [code if isinstance(code, bytes) else code.encode() for code in FILES.values()]
    whole += [Path(__file__).read_bytes()]
    for number in range(300):
        name = f"f{number}.{'ipynb' if number % 5 == 0 else 'py'}"
        (tmp_path / name).write_bytes(_broken(rng, rng.choice(whole)))
    write(tmp_path, "whole.py", "from aitoolbox import TrainLoop\n")
    report = check([str(tmp_path)])
    assert report.files == 301
    assert any(finding.place.path.endswith("whole.py") for finding in report.findings)
    assert report.unreadable
    one_by_one = [check([str(path)]) for path in sorted(tmp_path.iterdir())[:100]]
    assert sum(len(single.unreadable) for single in one_by_one) > 0


def _broken(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    match rng.randrange(5):
        case 0:
            return data[:start]
        case 1:
            return data[start:]
        case 2:
            return data[:start] + bytes(rng.randrange(256) for _ in range(5)) + data[start:]
        case 3:
            end = rng.randrange(start, len(data) + 1)
            return data[:start] + data[end:]
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def test_programs_that_are_valid_and_odd_never_break_a_check(tmp_path: Path) -> None:
    """Statements of all kinds in any order and nesting, round names of the old library."""
    rng = random.Random(11)
    pieces = [
        "from aitoolbox import *", "import aitoolbox as TrainLoop", "TrainLoop = TrainLoop.train_loop",
        "class TrainLoop(TrainLoop): fit = TrainLoop", "del TrainLoop", "global TrainLoop", "TrainLoop.fit = 3",
        "x: 'TrainLoop' = [TrainLoop for TrainLoop in TrainLoop]", "def TrainLoop(self, *a, **k): return TrainLoop",
        "x = TrainLoop(*TrainLoop, **TrainLoop)", "TrainLoop, *x = TrainLoop", "x[TrainLoop] += TrainLoop",
        "x = super(TrainLoop, TrainLoop).fit(lambda TrainLoop=TrainLoop: TrainLoop)", "assert (TrainLoop := TrainLoop)",
        "async def f(): await TrainLoop; [x async for x in TrainLoop]", "getattr(TrainLoop, 'x').y", "return TrainLoop",
    ]  # fmt: skip
    heads = [
        "if x:",
        "for TrainLoop in x:",
        "while x:",
        "try:",
        "with x as TrainLoop:",
        "def f(TrainLoop=x):",
        "class A:",
    ]
    for number in range(200):
        lines = []
        for _ in range(12):
            indent = rng.randrange(3)
            lines += [f"{'    ' * depth}{rng.choice(heads)}" for depth in range(indent)]
            lines.append("    " * indent + rng.choice(pieces))
            for depth, line in reversed(list(enumerate(lines[-indent - 1 : -1]))):
                lines += [f"{'    ' * depth}finally: TrainLoop"] if line.strip() == "try:" else []
        write(tmp_path, f"f{number}.py", "\n".join(lines))
    report = check([str(tmp_path)])
    assert report.files == 200
    assert report.unreadable == ()
    assert len(report.findings) > 400


def test_a_check_loads_neither_torch_nor_lightning_nor_what_it_reads(tmp_path: Path) -> None:
    write(tmp_path, "program.py", "import aitoolbox, numpy\nraise SystemExit(3)\n")
    code = (
        "import sys; from compat.migrate import check; from compat.migrate.html import as_html\n"
        f"assert as_html(check([{str(tmp_path)!r}]))\n"
        "print(*[name for name in ('torch', 'lightning', 'numpy', 'aitoolbox', 'program') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_recursion_limit_is_put_back(tmp_path: Path) -> None:
    before = sys.getrecursionlimit()
    write(tmp_path, "a.py", "from aitoolbox import TrainLoop\n")
    write(tmp_path, "b.py", "from a import TrainLoop\n")
    assert len(check([str(tmp_path)]).findings) == 2
    assert sys.getrecursionlimit() == before
