"""``gpu_mode='dp'`` in the loop: what is wrapped when, what comes out, and what is refused before anything changes.

No test here runs on a GPU. Without CUDA ``torch.nn.DataParallel`` runs the model as it is, so that the numbers must be
those of ``gpu_mode='single'``; the parts of a batch, the devices of a strategy and the scaler are tested without them.
"""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from compat import (
    AbstractCallback,
    ModelWrap,
    MultiOptimizer,
    PyTorchModelPredictor,
    TrainLoop,
    TTBasicModel,
    TTDataParallel,
)
from compat._data_parallel import data_parallel, root_device, wrap_problems
from compat._lightning import plan
from compat._lightning.strategies import DataParallelStrategy
from compat.model import AbstractModelFeedDefinition
from tests.toys import Linear, Recorder, TwoHeads, batches, make_loop


class Feed(AbstractModelFeedDefinition):
    """Feeds a plain module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the loss."""
        return criterion(model(batch_data[0]), batch_data[1])

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return the predictions."""
        return model(batch_data[0]), batch_data[1], {}


class ReplicaLosses(TTBasicModel):
    """Returns a loss with an entry for each of two replicas, as a loss inside ``forward`` does on two devices."""

    def __init__(self, reduce: bool) -> None:
        """Say whether the model makes one number of them."""
        super().__init__()
        self.layer, self.reduce = nn.Linear(3, 1), reduce

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.layer(inputs)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the losses ``(2,)``, or their mean."""
        losses = torch.stack([super().get_loss(batch_data, criterion, device)] * 2)
        return losses.mean() if self.reduce else losses


def weights(model: Any) -> list[torch.Tensor]:
    """Return copies of the parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def two_heads(**options: Any) -> TrainLoop:
    """Make a loop with two losses; the model's methods use its submodules, which the old wrapper did not find."""
    model = TwoHeads()
    parts = [torch.optim.SGD(model.b.parameters(), 0.1), torch.optim.Adam([*model.a.parameters()], 0.1)]
    return make_loop(model, optimizer=MultiOptimizer(parts), **options)


@pytest.mark.parametrize("make", [make_loop, two_heads], ids=["one loss", "two losses"])
@pytest.mark.parametrize("window", [1, 2])
def test_numbers_are_those_of_single(make: Any, window: int) -> None:
    kept = dict.fromkeys(("Q01", "Q11"), "kept")
    single = make(validation=batches(2), quirks=kept)
    parallel = make(validation=batches(2), quirks=kept, gpu_mode="dp")
    for loop in (single, parallel):
        loop.fit(num_epochs=2, grad_accumulation=window)
        loop.fit(num_epochs=3)
    assert all(map(torch.equal, weights(single.model), weights(parallel.model)))
    assert dict(single.train_history.train_history) == dict(parallel.train_history.train_history)
    assert torch.equal(single.predict_on_validation_set()[0], parallel.predict_on_validation_set()[0])
    assert single.evaluate_loss_on_train_set().item() == parallel.evaluate_loss_on_train_set().item()


def test_fit_returns_the_wrapper_and_a_second_fit_keeps_it() -> None:
    model: Any = Linear()
    loop = make_loop(model, gpu_mode="dp", quirks={"Q01": "kept"})
    assert loop.model is model
    wrapper = loop.fit(num_epochs=1)
    assert type(wrapper) is TTDataParallel
    assert wrapper.module is model
    assert wrapper.training
    assert loop.fit(num_epochs=3) is wrapper is loop.model
    assert list(wrapper.state_dict()) == ["module.layer.weight", "module.layer.bias"]


def test_callbacks_meet_the_wrapper_when_they_are_registered() -> None:
    class Looks(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            met.append(type(self.train_loop_obj.model))

    met: list[type] = []
    make_loop(gpu_mode="dp").fit(num_epochs=1, callbacks=[Looks("looks")])
    assert met == [TTDataParallel]


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped before"])
def test_plain_module_with_a_feed_definition(wrapped: bool) -> None:
    torch.manual_seed(0)
    network: Any = nn.Linear(3, 1)
    given = nn.DataParallel(network) if wrapped else network
    loop = TrainLoop(
        ModelWrap(given, Feed()),
        batches(),
        None,
        None,
        torch.optim.SGD(network.parameters(), 0.1),
        nn.MSELoss(),
        gpu_mode="dp",
    )
    trained = loop.fit(num_epochs=1)
    assert type(trained) is nn.DataParallel
    assert trained.module is network
    assert (trained is given) == wrapped
    assert loop.predict_on_train_set()[0].shape == (6, 1)


def test_arguments_reach_the_wrapper() -> None:
    wrapper = make_loop(gpu_mode="dp").fit(
        num_epochs=1, dp_model_args={"dim": 0, "device_ids": [0], "default_model_methods": ("get_loss",)}
    )
    assert type(wrapper) is TTDataParallel


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dp_model_args": {"foo": 1}}, "dp_model_args has unknown keys: 'foo'. Allowed are device_ids"),
        ({"dp_model_args": [0, 1]}, "dp_model_args is a list"),
        ({"num_gpus": 2}, "fit got num_gpus, which gpu_mode='dp' does not take.*takes dp_model_args"),
        ({"num_gpus": 2, "dp_model_args": {"foo": 1}}, "(?s)2 problems.*num_gpus.*'foo'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_changes(arguments: dict[str, Any], text: str) -> None:
    model, recorder = Linear(), Recorder()
    loop = make_loop(model, gpu_mode="dp")
    with pytest.raises(TypeError, match=text):
        loop.fit(num_epochs=1, callbacks=[recorder], **arguments)
    assert loop.model is model
    assert loop.callbacks == []
    assert recorder.events == []
    assert loop.num_epochs is None


def test_missing_listed_attribute_is_refused_before_anything_changes() -> None:
    model = Linear()
    model.transfer_model_attributes = ["lost"]
    loop = make_loop(model, gpu_mode="dp")
    with pytest.raises(AttributeError, match="lists 'lost'"):
        loop.fit(num_epochs=1)
    assert loop.model is model


def test_direct_call_checks_too() -> None:
    loop = make_loop(gpu_mode="dp")
    with pytest.raises(TypeError, match="unknown keys: 'foo'"):
        loop._train_dp(1, 0, dp_model_args={"foo": 1})
    assert type(loop._train_dp(1, 0)) is TTDataParallel


def test_override_may_take_arguments_of_its_own() -> None:
    class Mine(TrainLoop):
        def _train_dp(self, *args: Any, mine: int = 0, **kwargs: Any) -> Any:
            got.append((args[:2], mine, sorted(kwargs)))
            return super()._train_dp(*args, **kwargs)

    got: list[Any] = []
    model = Linear()
    loop = Mine(model, batches(), None, None, torch.optim.SGD(model.parameters(), 0.1), nn.MSELoss(), gpu_mode="dp")
    loop.fit(num_epochs=1, mine=3, dp_model_args={"dim": 0})
    assert got == [((1, 0), 3, ["dp_model_args"])]
    loop.model = model
    with pytest.raises(TypeError, match="unknown keys: 'foo'"):
        loop.fit(num_epochs=2, dp_model_args={"foo": 1})


def test_loss_for_each_replica_is_refused_until_the_model_makes_one_number_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = make_loop(ReplicaLosses(reduce=False), gpu_mode="dp", end_auto_eval=False)
    with pytest.raises(RuntimeError, match=r"shape \(2,\). Return one number for the batch, such as its mean"):
        loop.fit(num_epochs=1)
    loop.model.device_ids = [0, 1]
    monkeypatch.setattr(TTDataParallel, "forward", lambda self, *inputs: self.module(*inputs))
    with pytest.raises(RuntimeError, match="A forward that computes the loss returns one for each of 2 devices"):
        loop.fit(num_epochs=1)
    assert make_loop(ReplicaLosses(reduce=True), gpu_mode="dp").fit(num_epochs=1) is not None


def test_error_names_the_users_model() -> None:
    class Wrong(Linear):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            return {"a": 1}

    with pytest.raises(TypeError, match=r"Wrong\.get_loss returned a dict"):
        make_loop(Wrong(), gpu_mode="dp").fit(num_epochs=1)


def test_trainer_knows_the_devices_of_the_model() -> None:
    loop = make_loop(gpu_mode="dp")
    loop.fit(num_epochs=1)
    strategy = loop.trainer.strategy
    assert isinstance(strategy, DataParallelStrategy)
    assert (strategy.root_device, strategy.replica_devices) == (torch.device("cpu"), ())
    loop.model.device_ids = [0, 1]
    assert plan.plan_fit(loop).replicas == (torch.device("cuda", 0), torch.device("cuda", 1))
    single = make_loop()
    single.fit(num_epochs=1)
    assert not isinstance(single.trainer.strategy, DataParallelStrategy)


def test_predictor_takes_the_model_inside_the_wrapper() -> None:
    """As in AIToolbox, a wrapper is no ``TTModel``."""
    wrapper = make_loop(gpu_mode="dp").fit(num_epochs=1)
    predictor = PyTorchModelPredictor(wrapper.module, batches())
    assert len(predictor.model_predict()[0]) == 6
    with pytest.raises(TypeError, match=r"model is a TTDataParallel.*the model inside it: model\.module"):
        PyTorchModelPredictor(wrapper, batches())


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_of_the_trained_wrapper_give_its_predictions(copied: Any) -> None:
    wrapper = make_loop(gpu_mode="dp").fit(num_epochs=1)
    twin = copied(wrapper)
    assert torch.equal(twin.get_predictions(batches()[0], "cpu")[0], wrapper.get_predictions(batches()[0], "cpu")[0])


def test_autocast_is_on_in_the_models_code_and_not_round_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facade's own autocast, as it is on CUDA; the device is one that has no data, so that none is needed."""
    from compat import train_loop

    class Watching(Linear):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            states.append(torch.is_autocast_enabled("cpu"))
            return super().get_loss(batch_data, criterion, "cpu")

    states: list[bool] = []
    loop = make_loop(Watching(), gpu_mode="dp", end_auto_eval=False)
    loop.fit(num_epochs=1)
    assert not any(states)
    states.clear()
    monkeypatch.setattr(train_loop, "autocast", lambda on, device, dtype: torch.autocast("cpu", torch.bfloat16))
    loop.device = torch.device("meta")
    loss = loop._calculate_batch_loss(batches()[0])
    assert states == [True]
    assert loss.requires_grad
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("model", "arguments", "text"),
    [
        (
            Linear(),
            {"foo": 1},
            "unknown keys: 'foo'. Allowed are device_ids, output_device, dim, default_model_methods",
        ),
        (nn.Linear(1, 1), {"default_model_methods": ()}, "unknown keys: 'default_model_methods'"),
        (Linear(), {"module": None}, "unknown keys: 'module'"),
        (Linear(), [0, 1], "dp_model_args is a list. Pass a dict"),
    ],
)
def test_bad_arguments_of_the_mode(model: Any, arguments: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        data_parallel(model, arguments)


def test_what_is_wrapped_stays_and_plain_modules_get_torchs_wrapper() -> None:
    plain = data_parallel(nn.Linear(1, 1), {"dim": 0})
    assert type(plain) is nn.DataParallel
    for wrapped in (plain, TTDataParallel(Linear())):
        assert data_parallel(wrapped, {"foo": 1}) is wrapped
        assert wrap_problems(wrapped, {"foo": 1}) == []
    assert type(data_parallel(Linear(), None)) is TTDataParallel


@pytest.mark.parametrize(
    ("ids", "device", "expected"),
    [([1, 2], "cuda", "cuda:1"), ([0, 1], "cuda", "cuda"), ([1, 2], "cuda:0", "cuda:0"), ([], "cpu", "cpu")],
)
def test_root_device(ids: list[int], device: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice alone: no such device is used."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    wrapper = TTDataParallel(Linear())
    wrapper.device_ids = ids
    assert root_device(wrapper, torch.device(device)) == torch.device(expected)
