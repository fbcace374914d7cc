"""What ``fit`` with ``gpu_mode='ddp'`` refuses: early, by one clear error, and with nothing changed."""

import os
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from compat import MultiOptimizer
from compat.exceptions import CompatError, WorkerError
from tests.conftest import OWN_VARIABLES
from tests.ddp.models import Normed
from tests.ddp.processes import descendants
from tests.ddp.watchers import Counts, Stops, make_loop, on_cpu
from tests.toys import Recorder

pytestmark = pytest.mark.timeout(60)
CPU = on_cpu()


@pytest.fixture(autouse=True)
def nobody_says_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment that says nothing of several processes."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "COMPAT_DDP_TIMEOUT", "LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"nonsense": 1, **CPU}, TypeError, "nonsense.*gpu_mode='ddp'.*num_gpus"),
        ({"dp_model_args": {}, **CPU}, TypeError, "dp_model_args"),
        ({**CPU, "num_gpus": 0}, ValueError, "num_gpus=0.*on_gpu=False, num_gpus=.*backend='gloo'"),
        ({**CPU, "num_gpus": -1}, ValueError, "num_gpus=-1"),
        ({**CPU, "num_gpus": "2"}, TypeError, "num_gpus='2' is a str. Pass a whole number"),
        ({**CPU, "num_gpus": 2.0}, TypeError, "num_gpus=2.0 is a float"),
        ({**CPU, "num_gpus": True}, TypeError, "num_gpus=True is a bool"),
        ({**CPU, "num_nodes": 0}, ValueError, "num_nodes=0"),
        ({**CPU, "node_rank": 1}, ValueError, "node_rank=1, but num_nodes=1"),
        ({**CPU, "num_nodes": 2}, ValueError, "MASTER_ADDR and MASTER_PORT"),
        ({**CPU, "backend": "nccl"}, ValueError, "backend='nccl'.*on_gpu=False"),
        ({"num_gpus": 2, "on_gpu": False}, ValueError, "backend='nccl'.*backend='gloo'"),
        ({**CPU, "backend": 5}, TypeError, "backend=5 is a int"),
        ({**CPU, "backend": "telepathy"}, ValueError, "telepathy"),
        ({**CPU, "init_method": "nowhere"}, ValueError, "init_method='nowhere'.*tcp://host:port"),
        ({**CPU, "init_method": "tcp://nohost"}, ValueError, "tcp://nohost.*tcp://host:port"),
        ({**CPU, "ddp_model_args": [1]}, TypeError, "ddp_model_args is a list"),
        ({**CPU, "ddp_model_args": {"foo": 1}}, TypeError, "ddp_model_args has unknown keys: 'foo'"),
        ({**CPU, "in_process_data_load": [3]}, TypeError, "in_process_data_load holds a int"),
        ({**CPU, "callbacks": [Stops(2)]}, ValueError, "device_idx_execution=2.*2 processes"),
        ({**CPU, "grad_accumulation": 0}, ZeroDivisionError, "grad_accumulation=0"),
        ({**CPU, "num_gpus": "2", "nonsense": 1, "grad_accumulation": 0}, CompatError, "(?s)problems.*nonsense"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    refused(make_loop(), arguments, error, text)


def variables() -> dict[str, str]:
    """Return the environment, but for what the tools write into it."""
    return {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}


def refused(loop: Any, arguments: dict[str, Any], error: type[Exception], text: str, watched: bool = True) -> None:
    """See that a fit is refused, and that nothing has changed.

    Args:
        loop: The loop.
        arguments: Those of the fit.
        error: What is raised.
        text: The message.
        watched: Whether a callback watches, which might bring loaders of its own.
    """
    recorder, before = Recorder(), variables()
    weights = [value.clone() for value in loop.model.state_dict().values()]
    model, loaders = loop.model, (loop.train_loader, loop.validation_loader)
    given = [*([recorder] if watched else []), *arguments.get("callbacks", [])]
    with pytest.raises(error, match=text) as caught:
        loop.fit(**{"num_epochs": 1, **arguments, "callbacks": given})
    assert isinstance(caught.value, CompatError)
    assert not isinstance(caught.value, WorkerError), "before there are workers"
    assert variables() == before
    assert (loop.model, loop.train_loader, loop.validation_loader) == (model, *loaders)
    assert all(map(torch.equal, weights, loop.model.state_dict().values()))
    assert (loop.callbacks, recorder.events) == ([], [])
    assert (loop.num_epochs, loop.epoch, loop.total_iteration_idx) == (None, 0, -1)
    assert (loop.ddp_rank, loop.ddp_training_mode, loop.is_main_process()) == (None, False, True)
    assert descendants() == set()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs, and the default is one process on each")
def test_default_arguments_without_gpus() -> None:
    """The reference returned at once, with nothing trained (quirk Q51)."""
    text = "num_gpus=0.*on_gpu=False, num_gpus=2, backend='gloo'"
    refused(make_loop(), {}, ValueError, text)
    refused(make_loop(), {"num_gpus": 2}, ValueError, "num_gpus=2 with on_gpu=True, but this machine has 0 CUDA")


@pytest.mark.parametrize("seconds", ["soon", "0", "-3", "nan", "inf"])
def test_wrong_timeout(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_DDP_TIMEOUT", seconds)
    refused(make_loop(), CPU, ValueError, f"COMPAT_DDP_TIMEOUT='{seconds}'")


class Endless(IterableDataset[Any]):
    """Rows that cannot be counted, and so not be dealt out."""

    def __iter__(self) -> Any:
        return iter([(torch.zeros(3), torch.zeros(1))] * 4)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"train_loader": None}, TypeError, "(?i)train"),
        ({"train_loader": []}, IndexError, "no batch"),
        ({"train_loader": DataLoader(Endless(), batch_size=2)}, TypeError, "InMultiProcessDataLoad"),
        ({"train_loader": iter([])}, TypeError, "(?i)length"),
    ],
)
def test_loaders_that_cannot_be_dealt_out(changes: dict[str, Any], error: type[Exception], text: str) -> None:
    refused(make_loop(**changes), CPU, error, text, watched=False)


def test_single_loss_with_several_optimizers() -> None:
    """Not found out before there is a loss: the error is the worker's, and the loop stays as it was."""
    model = Normed()
    pair = [torch.optim.SGD([*model.net[0].parameters()], 0.1), torch.optim.SGD([*model.net[2].parameters()], 0.1)]
    loop = make_loop(model=model, optimizer=MultiOptimizer(pair))
    counts = Counts()
    weights = [value.clone() for value in loop.model.state_dict().values()]
    with pytest.raises(RuntimeError, match=r"rank [01] failed: LossError") as caught:
        loop.fit(num_epochs=1, callbacks=[counts], **CPU)
    assert type(caught.value.__cause__).__name__ == "LossError"
    assert isinstance(caught.value, CompatError)
    assert all(map(torch.equal, weights, loop.model.state_dict().values()))
    assert (loop.callbacks, counts.batches, loop.epoch, loop.is_main_process()) == ([], 0, 0, True)
    assert descendants() == set()


def test_model_in_a_wrapper() -> None:
    model: Any = Normed()
    with pytest.raises(TypeError, match="model is a DataParallel"):
        make_loop(model=nn.DataParallel(model))
