"""Programs that workers cannot import, or that hold what pickle cannot take: what works, and what is said if not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from compat import LambdaLRScheduler
from compat.exceptions import UnpicklableError
from tests.ddp_failures import faults
from tests.ddp_failures.watching import Program, within

pytestmark = pytest.mark.timeout(200)

# What a notebook has in its cells: a model, a data set and functions of its own, and no file.
CELLS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from compat import LambdaLRScheduler, TrainLoop, TTBasicModel

class Net(TTBasicModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs):
        return self.layer(inputs)

    def get_predictions(self, batch_data, device):
        inputs, targets = batch_data
        return self(inputs), targets, {}

class Doubled(TensorDataset):
    def __init__(self, transform, *tensors):
        super().__init__(*tensors)
        self.transform = transform

    def __getitem__(self, index):
        return tuple(map(self.transform, super().__getitem__(index)))

def loader():
    rows = Doubled(lambda value: 2 * value, torch.arange(36.0).reshape(12, 3) / 36, torch.zeros(12, 1))
    return DataLoader(rows, batch_size=2)

model = Net()
before = model.layer.weight.clone()
loop = TrainLoop(
    model, loader(), loader(), None, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), gpu_mode="ddp",
    pred_transform_fn=lambda predictions: torch.cat(predictions).abs(), quirks={"Q01": "kept", "Q58": "kept"},
)
schedule = LambdaLRScheduler(lambda epoch: 0.5**epoch)
"""
FIT = 'loop.fit(2, callbacks=[schedule], num_gpus=2, on_gpu=False, backend="gloo")\n'
TELL = 'print(torch.equal(model.layer.weight, before), len(loop.train_history.train_history["val_loss"]))\n'
WITHOUT_CLOUDPICKLE = "import sys\nsys.modules['cloudpickle'] = None\n"


def output_of(*arguments: str, folder: Path, given: str = "") -> tuple[int, str, str]:
    with Program(*arguments, folder=folder, given=given) as program:
        code = program.ended()
        # The tracker of multiprocessing ends after the program.
        assert within(5, lambda: not program.others()), program.others()
        return code, program.out, program.err


def test_a_program_from_standard_input_trains_what_it_defines(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    # Twice; the second fit trains the last epoch once more (Q01).
    program = CELLS + FIT + FIT.replace("fit(2, callbacks=[schedule]", "fit(3") + TELL
    done = output_of("-", folder=tmp_path, given=program)
    assert done == (0, "False 4\n", "")


def test_a_notebook_trains_what_its_cells_define(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    pytest.importorskip("IPython")
    cells = f"""
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
quiet = Config()
quiet.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=quiet)
for cell in ({CELLS!r}, {FIT!r}, {TELL!r}):
    shell.run_cell(cell, store_history=True).raise_error()
"""
    code, out, err = output_of("-c", cells, folder=tmp_path)
    assert (code, out.splitlines()[-1:], err) == (0, ["False 2"], "")


def test_without_cloudpickle_such_a_program_is_told_what_to_install(tmp_path: Path) -> None:
    code, out, err = output_of("-c", WITHOUT_CLOUDPICKLE + CELLS + FIT, folder=tmp_path)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("compat.exceptions.UnpicklableError: ")
    assert "loop.model (an object of the class Net)" in last
    assert 'pip install "trainloop-compat[cloudpickle]"' in last


def test_a_script_without_its_guard_is_told_so_once(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(CELLS + FIT + TELL)
    code, out, err = output_of(str(script), folder=tmp_path)
    assert (code, out) == (1, "")
    assert err.count("Traceback (most recent call last)") == 1, err
    assert "WorkerError: The program started its training again in the worker processes." in err
    assert 'if __name__ == "__main__":' in err


def with_lambda(where: str) -> tuple[Any, list[Any], str]:
    """Make a loop and callbacks with a lambda somewhere, and say where."""
    if where == "a scheduler":
        return (
            faults.make_loop(),
            [LambdaLRScheduler(lambda epoch: 0.5**epoch)],
            "callbacks[0].scheduler_args['lr_lambda'] (a lambda",
        )
    if where == "pred_transform_fn":
        return faults.make_loop(pred_transform_fn=lambda predictions: predictions), [], "loop.pred_transform_fn"
    loop = faults.make_loop()
    loop.validation_loader.dataset.transform = lambda row: row
    return loop, [], "loop.validation_loader.dataset.transform"


@pytest.mark.parametrize("where", ["a scheduler", "pred_transform_fn", "a data set's transform"])
def test_without_cloudpickle_a_lambda_is_named_with_its_place(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    loop, callbacks, place = with_lambda(where)
    with pytest.raises(UnpicklableError) as caught:
        loop.fit(num_epochs=1, callbacks=callbacks, **faults.ON_TWO)
    said = str(caught.value)
    assert said.startswith(place)
    assert f"(a lambda defined at {Path(__file__).name}:" in said
    assert 'pip install "trainloop-compat[cloudpickle]"' in said
    # Nothing has been started, or changed.
    assert loop.callbacks == []
    assert loop.train_history.train_history["loss"] == []


def test_with_cloudpickle_lambdas_and_local_classes_train() -> None:
    pytest.importorskip("cloudpickle")

    class Local(faults.Net):
        pass

    loop = faults.make_loop(Local(), pred_transform_fn=lambda predictions: predictions[0])
    loop.validation_loader.dataset.transform = lambda row: row
    weight = loop.model.first.weight.clone()
    loop.fit(num_epochs=1, callbacks=[LambdaLRScheduler(lambda epoch: 0.5**epoch)], **faults.ON_TWO)
    assert not (loop.model.first.weight == weight).all()
    assert type(loop.model) is Local
    assert loop.predict_on_validation_set()[0].shape == (2, 1)
