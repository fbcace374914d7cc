"""Arguments of which the table has something to say, in calls and in overrides."""

from dataclasses import replace
from pathlib import Path

import pytest

from compat._surface import Member, surface
from tests.migrate.reading import TRAIN_LOOP, read, remarks, uses

HEAD = "from aitoolbox import TrainLoop\n"


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of its own, so that the tests do not depend on what is served today."""
    row = surface().names[TRAIN_LOOP]
    said = {
        "gpu_mode='ddp'": Member("later", why="Comes later."),
        "use_amp": Member("differs", why="Differs."),
        "fit(num_nodes)": Member("refused", why="No."),
        "fit(#2: list | None)": Member("refused", why="It was callbacks.", versions="1.0 - 1.3", native="Trainer.fit"),
        "fit(#4)": Member("differs", why="It was another.", versions="1.0 - 1.3"),
        "predict_with_model(execute_callbacks: str)": Member("refused", why="It was a string."),
        "get_num_training_steps()": Member("refused", why="It takes an argument.", versions="1.0"),
        "_optimizer_step(iteration)": Member("refused", why="It takes one argument.", versions="1.2 - 1.3"),
    }
    monkeypatch.setitem(surface().names, TRAIN_LOOP, replace(row, arguments=said))


def found(folder: Path, code: str) -> list[str]:
    return [use for use in uses(folder, HEAD + code) if " argument " in use]


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TrainLoop(m, gpu_mode='ddp')", ["2:23 argument TrainLoop(gpu_mode='ddp')"]),
        ("TrainLoop(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 'ddp')", ["2:46 argument TrainLoop(gpu_mode='ddp')"]),
        ("TrainLoop(m, gpu_mode='dp')", []),
        ("TrainLoop(m, gpu_mode='single', use_amp=True)", ["2:41 argument TrainLoop(use_amp)"]),
        ("other(gpu_mode='ddp')", []),
        ("TrainLoop(m).fit(1, num_nodes=2)", ["2:31 argument TrainLoop.fit(num_nodes)"]),
        ("l = TrainLoop(m)\nl.get_num_training_steps()", ["3:1 argument TrainLoop.get_num_training_steps()"]),
        ("l = TrainLoop(m)\nl.get_num_training_steps(3)", []),
        ("class A(TrainLoop): pass\nA(m, gpu_mode='ddp')", ["3:15 argument TrainLoop(gpu_mode='ddp')"]),
        ("class A(TrainLoop):\n    def __init__(self, gpu_mode): pass\nA(gpu_mode='ddp')", []),
        ("class A(TrainLoop):\n    def __init__(self):\n        super().__init__(1, gpu_mode='ddp')", [
            "4:38 argument TrainLoop(gpu_mode='ddp')"]),
        ("class A(TrainLoop):\n    def _optimizer_step(self, iteration, grad, idx): pass", [
            "3:31 argument TrainLoop._optimizer_step(iteration)"]),
        ("class A(TrainLoop):\n    def _optimizer_step(self, optimizer_idx): pass", []),
    ],
)  # fmt: skip
def test_arguments(code: str, expected: list[str], tmp_path: Path) -> None:
    assert found(tmp_path, code) == expected


@pytest.mark.usefixtures("arguments")
def test_a_place_that_meant_something_else_is_a_remark(tmp_path: Path) -> None:
    assert found(tmp_path, "TrainLoop(m).fit(1, 2, 3, 4)") == []
    (remark,) = remarks(tmp_path, HEAD + "TrainLoop(m).fit(1, 2, 3, 4)")
    assert remark == "2: If it was written for AIToolbox 1.0 - 1.3: fit(#4): It was another."
    (remark,) = remarks(tmp_path, HEAD + "TrainLoop(m).fit(1, callbacks)")
    assert remark == "2: If it was written for AIToolbox 1.0 - 1.3: fit(#2: list | None): It was callbacks."


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    "code",
    [
        "TrainLoop(m).fit(1, [])",
        "TrainLoop(m).fit(1, (a,))",
        "TrainLoop(m).fit(1, [x for x in y])",
        "TrainLoop(m).fit(1, None)",
        "cbs = []\nTrainLoop(m).fit(1, cbs)",
        "def f():\n    cbs = [a]\n    cbs.append(b)\n    TrainLoop(m).fit(1, cbs)",
        "TrainLoop(m).fit(1, [a] if x else 3)",
        "from aitoolbox import EarlyStopping\ndef cbs(): return [EarlyStopping()]\nTrainLoop(m).fit(1, cbs())",
    ],
)
def test_a_value_of_the_kind_that_breaks_is_certain(code: str, tmp_path: Path) -> None:
    (use,) = found(tmp_path, code)
    assert use.endswith("argument TrainLoop.fit(#2: list | None)")
    assert remarks(tmp_path, HEAD + code) == []


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    "code",
    [
        "TrainLoop(m).fit(1, 2)",
        "TrainLoop(m).fit(1, -2)",
        "TrainLoop(m).fit(1, {})",
        "n = 5\nTrainLoop(m).fit(1, n)",
        "TrainLoop(m).fit(1, 2, [])",
        "TrainLoop(m).fit(1, callbacks=[])",
        "TrainLoop(m).predict_with_model(d, execute_callbacks=TrainLoop.fit)",
        "TrainLoop(m).predict_with_model(d, execute_callbacks=True)",
    ],
)
def test_control_a_value_of_another_kind_is_neither_a_use_nor_a_remark(code: str, tmp_path: Path) -> None:
    assert found(tmp_path, code) == []
    assert remarks(tmp_path, HEAD + code) == []


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    "code",
    [
        "MODE = 'ddp'\nTrainLoop(m, gpu_mode=MODE)",
        "MODE: str = 'ddp'\ndef f():\n    return TrainLoop(m, gpu_mode=MODE)",
        "def f():\n    mode = 'ddp'\n    TrainLoop(m, gpu_mode=mode)",
        "TrainLoop(m, gpu_mode='ddp' if many() else 'single')",
        "A = 'ddp'\nB = A if many() else 'single'\nTrainLoop(m, gpu_mode=B)",
        "from functools import partial\npartial(TrainLoop, gpu_mode='ddp')",
        "import functools\nmake = functools.partial(TrainLoop, m)\nmake(gpu_mode='ddp')",
    ],
)
def test_constants_conditions_and_partials_are_followed(code: str, tmp_path: Path) -> None:
    (use,) = found(tmp_path, code)
    assert use.endswith("argument TrainLoop(gpu_mode='ddp')")


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    "code",
    [
        "MODE = 'single'\nTrainLoop(m, gpu_mode=MODE)",
        "TrainLoop(m, gpu_mode='dp' if many() else 'single')",
        "import functools\nmake = functools.partial(TrainLoop, m, 2)\nmake(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'ddp')",
    ],
)
def test_control_other_constants_are_no_uses(code: str, tmp_path: Path) -> None:
    assert found(tmp_path, code) == []
    assert remarks(tmp_path, HEAD + code) == []


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    "code",
    [
        "MODE = 'ddp'\nMODE = 'single'\nTrainLoop(m, gpu_mode=MODE)",
        "MODE = 'ddp'\ndef f():\n    global MODE\n    MODE = 'x'\nTrainLoop(m, gpu_mode=MODE)",
        "def f(mode='ddp'):\n    TrainLoop(m, gpu_mode=mode)",
        "try:\n    from config import MODE\nexcept ImportError:\n    MODE = 'ddp'\nTrainLoop(m, gpu_mode=MODE)",
    ],
)
def test_control_what_is_assigned_more_than_once_is_a_remark(code: str, tmp_path: Path) -> None:
    assert found(tmp_path, code) == []
    (remark,) = remarks(tmp_path, HEAD + code)
    assert "whether it is meant is computed" in remark


MESSAGES = """
from aitoolbox.torchtrain.callbacks.abstract import AbstractCallback
from aitoolbox.torchtrain.train_loop.components.message_passing import MessageHandling
from aitoolbox.torchtrain.tl_components.message_passing import UNTIL_READ
class A(AbstractCallback):
    def on_epoch_end(self):
        self.message_service.write_message("a", 1, {})
"""


@pytest.mark.parametrize(
    ("setting", "uses_of_it", "remarked"),
    [
        ("MessageHandling.KEEP_FOREVER", 0, 0),
        ("UNTIL_READ", 0, 0),
        ("msg_handling_settings=MessageHandling.OVERWRITE", 0, 0),
        ("'keep_forever'", 1, 0),
        ("msg_handling_settings='keep_forever'", 1, 0),
        ("setting()", 0, 1),
    ],
)
def test_only_a_string_is_refused_as_the_setting_of_a_message(
    setting: str, uses_of_it: int, remarked: int, tmp_path: Path
) -> None:
    report = read(tmp_path, MESSAGES.replace("{}", setting))
    assert len([finding for finding in report.findings if finding.kind == "argument"]) == uses_of_it
    assert len(report.remarks) == remarked


@pytest.mark.parametrize(
    ("code", "effort"),
    [
        ("from aitoolbox import MultiLoss\nMultiLoss([a, b])", "does not run"),
        ("from aitoolbox import TrainLoop\nTrainLoop(m)(5, [cb])", "does not run"),
        ("from aitoolbox import TrainLoop\nTrainLoop(m).fit(5, 0, 4)", "does not run"),
        ("from aitoolbox import TrainLoop\nTrainLoop(m).fit(5, num_gpus=2)", "needs a look"),
        ("from aitoolbox import TrainLoop\nl = TrainLoop(m, gpu_mode='single')\nl.fit(5, num_gpus=2)", "needs a look"),
    ],
)
def test_calls_of_older_programs_by_the_real_table(code: str, effort: str, tmp_path: Path) -> None:
    (argument,) = [finding for finding in read(tmp_path, code).findings if finding.kind == "argument"]
    assert argument.effort == effort


@pytest.mark.parametrize(
    "code",
    [
        "TrainLoop(m, gpu_mode='ddp').fit(5, num_gpus=2)",
        "l = TrainLoop(m, gpu_mode='ddp')\nl.fit(5, num_gpus=2)",
        "MODE = 'ddp'\ndef f():\n    l = TrainLoop(m, gpu_mode=MODE)\n    l.fit(5, num_gpus=2)",
    ],
)
def test_an_argument_shares_the_lot_of_the_mode_that_the_loop_was_made_with(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, number = [found for found in read(tmp_path, HEAD + code).findings if found.kind == "argument"]
    assert (mode.status, mode.effort) == ("differs", "needs a look")
    assert (number.name.endswith("fit(num_gpus)"), number.effort) == (True, "runs as it is")
    assert number.why != mode.why

    row = surface().names[TRAIN_LOOP]
    later = {**row.arguments, "gpu_mode='ddp'": Member("later", why="Comes later.")}
    monkeypatch.setitem(surface().names, TRAIN_LOOP, replace(row, arguments=later))
    mode, number = [found for found in read(tmp_path, HEAD + code).findings if found.kind == "argument"]
    assert (mode.status, number.status) == ("later", "later")
    assert (number.effort, number.why) == ("does not run", mode.why)


@pytest.mark.parametrize(
    "code",
    [
        "from aitoolbox import MultiLoss\nMultiLoss({'a': a})\nMultiLoss(dict(a=1))",
        "from aitoolbox import TrainLoop\nTrainLoop(m)(5)\nTrainLoop(m).fit(5, 0, [cb], 4)",
        "from aitoolbox.torchtrain.schedulers.basic import LambdaLRScheduler\nLambdaLRScheduler([f])",
    ],
)
def test_control_calls_that_run_by_the_real_table(code: str, tmp_path: Path) -> None:
    assert "does not run" not in {finding.effort for finding in read(tmp_path, code).findings}


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize("code", ["TrainLoop(m, gpu_mode=mode)", "TrainLoop(m, **config)", "TrainLoop(*all, **more)"])
def test_arguments_that_cannot_be_seen_are_remarked(code: str, tmp_path: Path) -> None:
    assert found(tmp_path, code) == []
    (remark,) = remarks(tmp_path, HEAD + code)
    assert "gpu_mode='ddp'" in remark


def test_the_tables_own_arguments_are_understood(tmp_path: Path) -> None:
    """Every key of the real table can be told apart by the check."""
    from compat.migrate.arguments import _KEY

    keys = [key for row in surface().names.values() for key in row.arguments]
    assert keys
    assert [key for key in keys if not _KEY.fullmatch(key)] == []
    assert not _KEY.fullmatch("fit(a, b)")
    assert not _KEY.fullmatch("fit(a: list |)")
    kinds = {"str", "int", "bool", "dict", "list", "None"}
    told = [
        kind
        for key in keys
        if (match := _KEY.fullmatch(key)) and match["kinds"]
        for kind in match["kinds"].split(" | ")
    ]
    assert set(told) <= kinds


def test_an_argument_carries_what_the_table_says(tmp_path: Path, arguments: None) -> None:
    report = read(tmp_path, HEAD + "TrainLoop(m, gpu_mode='ddp')")
    (argument,) = [finding for finding in report.findings if finding.kind == "argument"]
    assert (argument.status, argument.why, argument.effort) == ("later", "Comes later.", "does not run")
    (place,) = [use for use in read(tmp_path, HEAD + "TrainLoop(m).fit(1, [])").findings if use.kind == "argument"]
    assert (place.status, place.native) == ("refused", "Trainer.fit")
    assert argument.native == surface().names[TRAIN_LOOP].native
