"""Bad input of ``fit``, of loaders and of losses: one clear error, and nothing changed."""

from typing import Any

import pytest
import torch
from torch import nn

from compat import AbstractCallback, MultiOptimizer, TrainLoop
from compat.exceptions import CompatError, QuirkWarning, RefusedError
from tests.toys import GradientRecorder, Linear, Recorder, batches, make_loop, on

BAD_FITS = [
    pytest.param({}, ValueError, "nothing would be trained", id="neither"),
    pytest.param({"num_epochs": 1, "num_iterations": 1}, ValueError, "exclude each other", id="both"),
    pytest.param({"num_epochs": -1}, ValueError, "nothing would be trained", id="negative epochs"),
    pytest.param({"num_iterations": -2}, ValueError, "nothing would be trained", id="negative iterations"),
    pytest.param({"num_epochs": 1.5}, TypeError, "num_epochs=1.5 is no whole number", id="float epochs"),
    pytest.param({"num_epochs": "2"}, TypeError, "num_epochs='2' is no whole number", id="text epochs"),
    pytest.param(
        {"num_iterations": 2.5}, TypeError, "num_iterations=2.5 is no whole number", id="fractional iterations"
    ),
    pytest.param(
        {"num_epochs": 1, "callbacks": "EarlyStopping"},
        TypeError,
        "callbacks='EarlyStopping' is a str",
        id="text callbacks",
    ),
    pytest.param(
        {"num_epochs": 1, "callbacks": [1]},
        TypeError,
        "Callback 1 is not inherited from the AbstractCallback",
        id="no callback",
    ),
    pytest.param({"num_epochs": 1, "grad_accumulation": 0}, ZeroDivisionError, "1 or more", id="window 0"),
    pytest.param({"num_epochs": 1, "grad_accumulation": -1}, ValueError, "train uphill", id="window -1"),
    pytest.param({"num_epochs": 1, "grad_accumulation": 1.5}, ValueError, "is not whole", id="window 1.5"),
    pytest.param({"num_epochs": 1, "grad_accumulation": None}, TypeError, "is a NoneType", id="window None"),
]


def state_of(loop: TrainLoop) -> tuple[Any, ...]:
    """Return all that a refused call must leave as it is."""
    return (
        [parameter.clone().tolist() for parameter in loop.model.parameters()],
        loop.model.training,
        list(loop.callbacks),
        str(loop.train_history),
        (loop.epoch, loop.iteration, loop.total_iteration_idx),
        (loop.num_epochs, loop.num_iterations, loop.grad_accumulation, loop.grad_cb_used),
    )


@pytest.mark.parametrize(("arguments", "error", "text"), BAD_FITS)
def test_bad_fit_argument_changes_nothing(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    loop = make_loop()
    loop.fit(num_epochs=1)
    loop.model.eval()
    before = state_of(loop)
    with pytest.raises(error, match=text) as caught:
        loop.fit(**{"callbacks": [Recorder()], **arguments})
    assert isinstance(caught.value, CompatError)
    assert state_of(loop) == before


@pytest.mark.parametrize(
    ("loaders", "fit", "error", "text"),
    [
        pytest.param({"train": []}, {"num_epochs": 1}, IndexError, "holds no batch", id="empty train"),
        pytest.param({"train": []}, {"num_iterations": 3}, ZeroDivisionError, "divided by 0", id="empty, iterations"),
        pytest.param(
            {"validation": []}, {"num_epochs": 1}, IndexError, "validation set: its loader", id="empty validation"
        ),
        pytest.param({"test": []}, {"num_epochs": 1}, IndexError, "test set: its loader", id="empty test"),
        pytest.param({"train": iter([])}, {"num_iterations": 3}, TypeError, "has no length", id="unsized, iterations"),
        pytest.param(
            {"train": iter([])},
            {"num_epochs": 1, "grad_accumulation": 2},
            TypeError,
            "no length, and grad",
            id="unsized, window",
        ),
        pytest.param({"train": 7}, {"num_epochs": 1}, TypeError, "is a int, which is not iterable", id="no loader"),
    ],
)
def test_bad_loader_changes_nothing(
    loaders: dict[str, Any], fit: dict[str, Any], error: type[Exception], text: str
) -> None:
    loop = make_loop(**loaders)
    before = state_of(loop)
    with pytest.raises(error, match=text):
        loop.fit(**fit)
    assert state_of(loop) == before


def test_missing_train_loader_is_a_type_error_unless_a_callback_brings_one() -> None:
    class Bring(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("bring")

        def on_train_begin(self) -> None:
            loop: Any = self.train_loop_obj
            loop.train_loader = batches()

    model = Linear()
    loop = TrainLoop(model, None, None, None, torch.optim.SGD(model.parameters(), 0.1), nn.MSELoss())
    with pytest.raises(TypeError, match="its loader is None"):
        loop.fit(num_epochs=1)
    loop.fit(num_iterations=4, callbacks=[Bring()])
    assert loop.total_iteration_idx == 3


def test_the_order_of_arguments_of_old_versions_is_recognised() -> None:
    """Until 1.3 callbacks came second."""
    with pytest.raises(
        TypeError, match=r"num_iterations=\[\] is no whole number. Callbacks came second until AIToolbox 1.3"
    ):
        make_loop().fit(2, [])  # type: ignore[arg-type]


ON_THE_CPU = {"num_gpus": 2, "on_gpu": False, "backend": "gloo"}


@pytest.mark.parametrize(
    ("further", "kind", "text"),
    [
        pytest.param({"num_gpus": 0}, ValueError, r"num_gpus=0.*on_gpu=False, num_gpus=2, backend='gloo'", id="none"),
        pytest.param({"num_gpus": 1000}, ValueError, r"num_gpus=1000 .*this machine has \d+ CUDA", id="too many"),
        pytest.param(ON_THE_CPU | {"num_gpus": 1.5}, TypeError, r"num_gpus=1.5 is a float", id="fraction"),
        pytest.param(ON_THE_CPU | {"backend": "nccl"}, ValueError, "backend='nccl' needs CUDA", id="backend"),
        pytest.param(ON_THE_CPU | {"gpus": 2}, TypeError, "fit got gpus, which gpu_mode='ddp' does not", id="unknown"),
        pytest.param(ON_THE_CPU | {"node_rank": 1}, ValueError, "node_rank=1, but num_nodes=1", id="node"),
        pytest.param(
            ON_THE_CPU | {"ddp_model_args": {"unused": 1}}, TypeError, "unknown keys: 'unused'", id="ddp_model_args"
        ),
        pytest.param(
            ON_THE_CPU | {"in_process_data_load": batches}, TypeError, "holds a function", id="in_process_data_load"
        ),
        pytest.param(
            ON_THE_CPU | {"callbacks": [AbstractCallback("third", device_idx_execution=2)]},
            ValueError,
            "device_idx_execution=2 of AbstractCallback, but there are 2 processes",
            id="no such rank",
        ),
    ],
)
def test_several_processes_that_will_not_do(further: dict[str, Any], kind: type[Exception], text: str) -> None:
    """Before a process is started."""
    loop = make_loop(gpu_mode="ddp")
    before = state_of(loop)
    with pytest.raises(kind, match=text) as caught:
        loop.fit(num_epochs=1, **further)
    assert isinstance(caught.value, CompatError)
    assert state_of(loop) == before


@pytest.mark.parametrize("value", [0])
def test_end_auto_eval_zero_is_refused_early(value: Any) -> None:
    loop = make_loop(end_auto_eval=value)
    before = state_of(loop)
    with pytest.raises(ZeroDivisionError, match="end_auto_eval=0"):
        loop.fit(num_epochs=1)
    assert state_of(loop) == before


@pytest.mark.parametrize(
    ("returned", "error", "text"),
    [
        pytest.param(lambda loss: {"a": loss}, TypeError, "get_loss returned a dict.*MultiLoss", id="dict"),
        pytest.param(lambda loss: (loss, loss), TypeError, "get_loss returned a tuple", id="tuple"),
        pytest.param(lambda loss: loss.item(), AttributeError, "Leave out `.item\\(\\)`", id="float"),
        pytest.param(lambda loss: torch.stack([loss, loss]), RuntimeError, r"shape \(2,\)", id="vector"),
    ],
)
def test_loss_of_the_wrong_kind(returned: Any, error: type[Exception], text: str) -> None:
    class Model(Linear):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            return returned(super().get_loss(batch_data, criterion, device))

    loop = make_loop(Model())
    weights = loop.model.layer.weight.clone()
    with pytest.raises(error, match=text):
        loop.fit(num_epochs=1)
    assert torch.equal(weights, loop.model.layer.weight)


def test_single_loss_with_several_optimizers_is_a_clear_error() -> None:
    model = Linear()
    loop = make_loop(model, optimizer=MultiOptimizer([torch.optim.SGD(model.parameters(), 0.1)] * 2))
    with pytest.raises(RuntimeError, match="a single loss, and there are 2 optimizers"):
        loop.fit(num_epochs=1)


def test_unknown_keyword_is_ignored_with_a_warning() -> None:
    expected = "Q08: .*callback is not one of its own: it has callbacks; gpu_mode belongs to TrainLoop"
    with pytest.warns(QuirkWarning, match=expected):
        make_loop().fit(num_epochs=1, gpu_mode="ddp", callback=[])


def test_optimizer_class_is_not_an_optimizer() -> None:
    with pytest.raises(TypeError, match=r"optimizer is the class SGD\. Pass an instance, such as SGD\(model"):
        make_loop(optimizer=torch.optim.SGD).fit(num_epochs=1)


@pytest.mark.parametrize("callbacks", [Recorder, [Recorder]], ids=["alone", "in a list"])
def test_callback_class_is_not_a_callback(callbacks: Any) -> None:
    with pytest.raises(TypeError, match=r"This is the class: pass an instance, Recorder\(\.\.\.\)"):
        make_loop().fit(num_epochs=1, callbacks=callbacks)


def test_predictions_in_lists_name_the_way_out() -> None:
    class Model(Linear):
        def get_predictions(self, batch_data: Any, device: Any) -> Any:
            return self(batch_data[0]).tolist(), batch_data[1], {}

    with pytest.raises(TypeError, match=r"get_predictions returned a list .*pred_transform_fn=keep_list_transf"):
        make_loop(Model()).predict_on_train_set()


def test_failed_registration_leaves_no_callback_behind() -> None:
    def fail(loop: Any) -> None:
        raise ValueError("mine")

    loop, recorder = make_loop(), GradientRecorder()
    before = state_of(loop)
    with pytest.raises(ValueError, match="mine"):
        loop.fit(num_epochs=1, callbacks=[recorder, on("tl_registration", fail)])
    assert state_of(loop)[:-1] == before[:-1]
    assert not loop.grad_cb_used
    loop.fit(num_epochs=1)
    assert recorder.names() == ["registration"]


def test_callback_without_its_base_constructor_changes_nothing() -> None:
    class Bare(AbstractCallback):
        def __init__(self) -> None:
            pass

    loop = make_loop()
    before = state_of(loop)
    with pytest.raises(AttributeError, match=r"Call super\(\).__init__\(callback_name\) in Bare.__init__"):
        loop.fit(num_epochs=1, callbacks=[Bare()])
    assert state_of(loop) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("ckpt_path", "load them first"), ("datamodule", "loop.train_loader"), ("val_dataloaders", "loop.")],
)
def test_an_argument_of_lightnings_own_fit_is_not_ignored(name: str, text: str) -> None:
    loop = make_loop()
    with pytest.raises(RefusedError, match=rf"fit\({name}=\.\.\.\) is an argument of Lightning's Trainer.fit.*{text}"):
        loop.fit(1, **{name: "a.ckpt"})  # type: ignore[arg-type]
    assert loop.trainer is None
    loop.fit(1)
