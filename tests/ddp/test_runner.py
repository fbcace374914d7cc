"""``python -m compat run`` on an old program that trains in several processes: not a line of it changes."""

import json
import sys
from pathlib import Path

import pytest

from tests.ddp.processes import ROOT, checked, run, start, torchrun

pytestmark = pytest.mark.timeout(150)
OLD = """\
import json, os, sys

import torch
from aitoolbox.torchtrain.callbacks.abstract import AbstractCallback
from aitoolbox.torchtrain.callbacks.basic import EarlyStopping
from aitoolbox.torchtrain.callbacks.ddp import InMultiProcessDataLoad
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.schedulers.warmup import ConstantWithWarmupScheduler
from aitoolbox.torchtrain.train_loop import *
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(TTModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

    def get_loss(self, batch_data, criterion, device):
        x, y = batch_data
        return criterion(self(x.to(device)), y.to(device))

    def get_predictions(self, batch_data, device):
        x, y = batch_data
        return self(x.to(device)).argmax(1), y, {"names": [f"{value:.3f}" for value in x[:, 0].tolist()]}


class Saves(AbstractCallback):
    def __init__(self, folder):
        super().__init__("saves", device_idx_execution=0)
        self.folder = folder

    def on_train_end(self):
        predictions, _, metadata = self.train_loop_obj.predict_on_validation_set()
        with open(f"{self.folder}/saved.{self.train_loop_obj.ddp_rank}", "w") as file:
            json.dump([predictions.tolist(), metadata["names"]], file)


def data(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(rows, 4, generator=generator), torch.arange(rows) % 2)


def validation():
    return DataLoader(data(5, 2), batch_size=2)


def main():
    torch.manual_seed(1)
    model = Net()
    loop = TrainLoop(
        model,
        DataLoader(data(16, 1), batch_size=4),
        None,
        None,
        torch.optim.SGD(model.parameters(), lr=0.1),
        nn.CrossEntropyLoss(),
        gpu_mode="ddp",
    )
    model = loop.fit(
        num_epochs=3,
        callbacks=[EarlyStopping("val_loss", patience=9), Saves(sys.argv[1]), ConstantWithWarmupScheduler(2)],
        in_process_data_load=InMultiProcessDataLoad(val_loader_build_fn=validation),
        num_gpus=2,
        backend="gloo",
        on_gpu=False,
    )
    result = {"weight": model.layer.weight.tolist(), "losses": loop.train_history["val_loss"]}
    result["home"] = TrainLoop.__module__
    with open(f"{sys.argv[1]}/result.{os.getpid()}", "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
"""
QUIET = {"COMPAT_QUIRKS": "Q19=kept,Q58=kept,Q91=kept", "OMP_NUM_THREADS": "1"}
Result = dict[str, object]


def results(folder: Path) -> list[Result]:
    """Return what the processes left that came to the end of the program."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("result.*"))]


def program(folder: Path) -> str:
    """Write the program into a folder."""
    file = folder / "train.py"
    file.write_text(OLD, encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, str]:
    """Run the program, and return what it left, where, and what was printed."""
    folder = tmp_path_factory.mktemp("served")
    done = run(sys.executable, "-m", "compat", "run", program(folder), str(folder), folder=folder, variables=QUIET)
    checked([done])
    (result,) = results(folder)
    return result, folder, done.stdout + done.stderr


Served = tuple[Result, Path, str]


def test_program_trains_in_workers(served: Served) -> None:
    result, folder, _ = served
    assert result["home"] == "compat.train_loop"
    assert len(result["losses"]) == 3  # type: ignore[arg-type]  # a list, read from JSON
    assert [file.name for file in folder.glob("saved.*")] == ["saved.0"]
    predictions, names = json.loads((folder / "saved.0").read_text(encoding="utf-8"))
    assert len(predictions) == len(set(names)) == 5


def test_report_comes_once_and_lists_what_the_workers_used(served: Served) -> None:
    printed = served[2]
    assert printed.count("of AIToolbox used") == 1
    for name in ("InMultiProcessDataLoad", "EarlyStopping", "ConstantWithWarmupScheduler", "TrainLoop"):
        assert name in printed
    assert printed.count("Epoch: 2") == 1, "rank zero alone prints"
    assert "Traceback" not in printed


def test_same_program_under_torchrun(served: Served, tmp_path: Path) -> None:
    command = torchrun(2, "-m", "compat", "run", program(tmp_path), str(tmp_path))
    checked(start(command, folder=tmp_path, seconds=120, variables=[QUIET | {"PYTHONPATH": str(ROOT)}]))
    assert results(tmp_path) == [served[0]] * 2


def test_control_the_program_needs_the_runner(tmp_path: Path) -> None:
    done = run(sys.executable, program(tmp_path), str(tmp_path), folder=tmp_path)
    assert "No module named 'aitoolbox'" in done.stderr
