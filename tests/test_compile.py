"""``torch.compile`` of the user's model: it trains compiled, to the same numbers, and its names stay what they are."""

import copy
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from compat import (
    AbstractCallback,
    AbstractModelFeedDefinition,
    ModelWrap,
    MultiGPUModelWrap,
    PyTorchModelPredictor,
    TrainLoop,
    TTBasicModel,
    TTModel,
    _compiled,
    as_lightning_module,
)
from compat._data_parallel import wrap_problems
from compat.exceptions import InvalidArgumentError, InvalidTypeError, RefusedError
from tests.toys import batches, make_loop

# What the backends below were given to compile; in a worker those of the worker.
GRAPHS: list[Any] = []


def counting(graph: Any, example_inputs: Any) -> Any:
    """Compile nothing, and count: a backend that runs the graph as it was traced."""
    GRAPHS.append(graph)
    return graph.forward


@pytest.fixture(autouse=True)
def compiler_from_scratch() -> Iterator[None]:
    torch._dynamo.reset()
    GRAPHS.clear()
    yield
    torch._dynamo.reset()


class Network(TTBasicModel):
    """Two layers and dropout, ``(N, 3) -> (N, 1)``; its loss goes through ``super()`` and adds an attribute's value."""

    def __init__(self) -> None:
        """Start from a fixed seed."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
        self.offset = 0.5

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.head(nn.functional.dropout(torch.relu(self.body(inputs)), 0.2, self.training))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the criterion's loss and the offset."""
        return super().get_loss(batch_data, criterion, device) + self.offset


class Feed(AbstractModelFeedDefinition):
    """Computes losses and predictions by calling the module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the criterion's loss."""
        return criterion(model(batch_data[0]), batch_data[1])

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return the module's output."""
        return model(batch_data[0]), batch_data[1], {}


KEYS = ["body.weight", "body.bias", "head.weight", "head.bias"]


def fit(model: Any, **options: Any) -> TrainLoop:
    """Train two epochs of three batches, with validation."""
    torch.manual_seed(7)
    inner = model.model if isinstance(model, ModelWrap) else model
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1, momentum=0.9)
    loop = make_loop(model, optimizer=optimizer, validation=batches(2), **options)
    loop.fit(num_epochs=2)
    return loop


def outcome(loop: TrainLoop) -> tuple[Any, ...]:
    """Return the history, and the weights by their names."""
    weights = {name: tensor.tolist() for name, tensor in loop.model.state_dict().items()}
    return loop.train_history.get_train_history(), weights


def test_a_compiled_model_trains_compiled_and_to_the_same_numbers() -> None:
    plain = fit(Network())
    assert GRAPHS == []
    model = Network()
    compiled = fit(torch.compile(model, backend=counting))
    assert len(GRAPHS) == 2, "one graph for training and one for evaluation"
    assert outcome(compiled) == outcome(plain)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_numbers_do_not_depend_on_the_backend(backend: str) -> None:
    assert outcome(fit(torch.compile(Network(), backend=backend))) == outcome(fit(Network()))


def test_the_loop_holds_hands_out_and_saves_the_model_inside() -> None:
    model = Network()
    wrapper: Any = torch.compile(model, backend=counting)
    assert list(wrapper.state_dict()) == [f"_orig_mod.{key}" for key in KEYS]
    loop = make_loop(wrapper)
    assert loop.fit(num_epochs=1) is model
    assert loop.model is model
    assert list(loop.model.state_dict()) == KEYS
    assert list(loop.lightning_module.state_dict()) == [f"model.{key}" for key in KEYS]
    # The user's own variable goes on naming the same weights, and runs what is compiled already.
    before, inputs = len(GRAPHS), batches()[0][0]
    with torch.no_grad():
        wrapper.eval()
        assert torch.equal(wrapper(inputs), model(inputs))
        assert torch.equal(model(inputs), model.forward(inputs))
    assert len(GRAPHS) <= before + 1


def test_control_methods_of_the_wrapper_would_not_run_compiled() -> None:
    wrapper: Any = torch.compile(Network(), backend=counting)
    wrapper.get_loss(batches()[0], nn.MSELoss(), torch.device("cpu"))
    assert GRAPHS == [], "torch binds them to the wrapper now, and the loop need not take it apart"


def test_a_model_compiled_in_place_trains_compiled() -> None:
    model = Network()
    model.compile(backend=counting)
    loop = fit(model)
    assert len(GRAPHS) == 2
    assert loop.model is model
    assert outcome(loop) == outcome(fit(Network()))


def test_a_compiled_module_in_a_wrap_is_unpacked_and_stays_compiled() -> None:
    network = Network()
    loop = fit(ModelWrap(torch.compile(network, backend=counting), Feed()))  # type: ignore[arg-type]  # torch says: a function
    assert len(GRAPHS) == 2
    assert loop.model is network
    assert list(loop.model.state_dict()) == KEYS
    assert outcome(loop) == outcome(fit(ModelWrap(Network(), Feed())))


def test_a_compiled_module_of_torchs_own_stays_compiled() -> None:
    network = nn.Sequential(nn.Linear(3, 1))
    loop = fit(ModelWrap(torch.compile(network, backend=counting), Feed()))  # type: ignore[arg-type]  # as above
    assert len(GRAPHS) == 2
    assert loop.model is network


def test_a_compiled_module_in_a_multi_gpu_wrap_keeps_its_names() -> None:
    loop = fit(MultiGPUModelWrap(torch.compile(Network(), backend=counting)))  # type: ignore[arg-type]  # as above
    assert len(GRAPHS) == 2
    assert list(loop.model.state_dict()) == [f"model.{key}" for key in KEYS]


def test_options_of_the_compilation_are_kept() -> None:
    class Breaking(Network):
        def forward(self, inputs: torch.Tensor) -> Any:
            torch._dynamo.graph_break()
            return super().forward(inputs)

    with pytest.raises(Exception, match="graph_break"):
        fit(torch.compile(Breaking(), backend=counting, fullgraph=True))
    torch._dynamo.reset()
    fit(torch.compile(Breaking(), backend=counting))


def test_a_model_compiled_after_the_loop_was_made_trains_compiled() -> None:
    model = Network()
    loop = make_loop(model)
    loop.model = torch.compile(model, backend=counting)
    assert loop.fit(num_epochs=1) is model
    assert GRAPHS


def test_predictions_and_losses_without_a_fit_run_compiled() -> None:
    model = Network()
    loop = make_loop(torch.compile(model, backend=counting), validation=batches())
    predicted, _, _ = loop.predict_on_validation_set()
    assert len(GRAPHS) == 1
    with torch.no_grad():
        assert torch.equal(predicted, torch.cat([model.eval()(inputs) for inputs, _ in batches()]))
    other = make_loop(Network(), validation=batches())
    other.model = torch.compile(Network(), backend=counting)
    assert other.evaluate_loss_on_validation_set() == loop.evaluate_loss_on_validation_set()


def test_a_predictor_takes_a_compiled_model() -> None:
    predictor = PyTorchModelPredictor(torch.compile(Network(), backend=counting), batches())
    plain = PyTorchModelPredictor(Network(), batches())
    assert torch.equal(predictor.model_predict()[0], plain.model_predict()[0])
    assert len(GRAPHS) == 1


def test_what_is_inside_the_wrapper_must_be_a_model_too() -> None:
    with pytest.raises(InvalidTypeError, match=r"^model is a Linear\. "):
        make_loop(torch.compile(nn.Linear(3, 1), backend=counting), optimizer=object())


def test_hooks_of_the_wrapper_are_refused_and_those_of_the_model_run() -> None:
    outputs: list[Any] = []
    model = Network()
    wrapper: Any = torch.compile(model, backend=counting)
    handle = wrapper.register_forward_hook(lambda *_: None)
    with pytest.raises(InvalidArgumentError, match=r"_forward_hooks.*Register them on the model"):
        make_loop(wrapper)
    handle.remove()
    model.register_forward_hook(lambda *_: outputs.append(1))
    make_loop(wrapper).predict_with_model(batches())
    assert len(outputs) == 3


def test_copies_of_a_loop_have_plain_models_that_train() -> None:
    loop = fit(torch.compile(Network(), backend=counting), quirks={"Q01": "fixed"})
    for other in (pickle.loads(pickle.dumps(loop)), copy.deepcopy(loop)):
        assert list(other.model.state_dict()) == KEYS
        other.fit(num_epochs=3)
        assert len(other.train_history["loss"]) == 3
    assert len(GRAPHS) == 2, "a copy of a compiled model is not compiled, as ever in torch"


def test_data_parallel_on_the_cpu_runs_compiled() -> None:
    loop = fit(torch.compile(Network(), backend=counting), gpu_mode="dp")
    assert len(GRAPHS) == 2
    assert list(loop.model.state_dict()) == [f"module.{key}" for key in KEYS]
    assert outcome(loop) == outcome(fit(Network(), gpu_mode="dp"))


@pytest.mark.parametrize("part", ["", "body"])
def test_data_parallel_on_several_devices_refuses_a_compiled_model(part: str) -> None:
    model = Network()
    model.get_submodule(part).compile(backend=counting)
    (problem,) = wrap_problems(model, {"device_ids": [0, 1]})
    assert isinstance(problem, RefusedError)
    assert ("its part 'body' is compiled" if part else "and Network is compiled") in str(problem)
    assert wrap_problems(model, {"device_ids": [0]}) == []
    assert wrap_problems(Network(), {"device_ids": [0, 1]}) == []


class Outer(TTModel):
    """A model of which one part is compiled in place, and one by a wrapper."""

    def __init__(self) -> None:
        """Compile both."""
        super().__init__()
        self.first, self.second = Network(), torch.compile(Network(), backend=counting)
        self.first.compile(backend=counting)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Add the losses of both."""
        inputs, targets = batch_data
        return criterion(self.first(inputs), targets) + criterion(self.second(inputs), targets)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the first one's output."""
        return self.first(batch_data[0]), batch_data[1], {}


def test_what_a_pickle_forgets_can_be_told_again() -> None:
    model = Outer()
    assert _compiled.compiled_parts(model) == ["first", "second"]
    again, how = pickle.loads(pickle.dumps((model, _compiled.how_compiled(model))))
    assert list(how) == ["first"], "the wrapper knows how itself"
    assert _compiled.compiled_parts(again) == ["second"]
    _compiled.compile_again(again, how)
    assert _compiled.compiled_parts(again) == ["first", "second"]
    again.first(batches()[0][0])
    assert len(GRAPHS) == 1


def test_a_call_that_torch_did_not_make_cannot_be_told_and_says_so() -> None:
    model = Network()
    model.__dict__["_compiled_call_impl"] = model._call_impl
    with pytest.raises(InvalidTypeError, match=r"^The model is compiled in a way that cannot be told"):
        _compiled.how_compiled(model)


def test_a_model_is_looked_at_without_loading_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo.eval_frame")
    model = Network()
    assert _compiled.in_place(model) is model
    assert "torch._dynamo.eval_frame" not in sys.modules


class Counts(AbstractCallback):
    """Notes in one process what was compiled there."""

    def __init__(self, rank: int) -> None:
        """Keep the rank."""
        super().__init__("counts the graphs", device_idx_execution=rank)
        self.graphs = 0

    def on_train_end(self) -> None:
        """Count."""
        self.graphs = len(GRAPHS)


def test_each_of_two_processes_compiles_its_own() -> None:
    def train(model: Any, counts: list[Any]) -> TrainLoop:
        data = TensorDataset(*batches(1, 12)[0])
        loader = DataLoader(data, batch_size=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loop = TrainLoop(model, loader, loader, None, optimizer, nn.MSELoss(), gpu_mode="ddp", quirks={"Q58": "fixed"})
        torch.manual_seed(7)
        loop.fit(2, callbacks=counts, num_gpus=2, on_gpu=False, backend="gloo")
        return loop

    counts = [Counts(0), Counts(1)]
    model = Network()
    compiled = train(torch.compile(model, backend=counting), [*counts])
    assert [each.graphs for each in counts] == [2, 2]
    assert GRAPHS == [], "this process has trained nothing"
    assert compiled.model is model
    assert outcome(compiled) == outcome(train(Network(), []))
    model(batches()[0][0])
    assert len(GRAPHS) == 1, "and its own model is still compiled"


def test_native_callbacks_see_the_names_of_the_model_inside(tmp_path: Path) -> None:
    checkpoint: Any = ModelCheckpoint(tmp_path, save_last=True)
    loop = make_loop(torch.compile(Network(), backend=counting), validation=batches(2))
    loop.fit(num_epochs=2, callbacks=[checkpoint])
    saved = torch.load(checkpoint.last_model_path, weights_only=True)["state_dict"]
    assert list(saved) == [f"model.{key}" for key in KEYS]
    assert all(torch.equal(saved[f"model.{name}"], tensor) for name, tensor in loop.model.state_dict().items())


def test_a_compiled_model_trains_compiled_in_a_trainer_of_the_users_own() -> None:
    torch.manual_seed(7)
    loop = make_loop(torch.compile(Network(), backend=counting), validation=batches(2))
    module, data = as_lightning_module(loop)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet).fit(module, datamodule=data)
    assert len(GRAPHS) == 2
    torch.manual_seed(7)
    plain = make_loop(Network(), validation=batches(2))
    plain.fit(num_epochs=2)
    assert outcome(loop) == outcome(plain)


@pytest.mark.skipif(not hasattr(callbacks, "EMAWeightAveraging"), reason="this Lightning does not have it")
def test_averaged_weights_of_a_compiled_model_are_those_of_a_plain_one() -> None:
    def averaged(model: Any) -> tuple[Any, ...]:
        torch.manual_seed(7)
        loop = make_loop(model, validation=batches(2))
        native: Any = callbacks.EMAWeightAveraging(decay=0.5)
        loop.fit(num_epochs=2, callbacks=[native])
        return outcome(loop)

    assert averaged(torch.compile(Network(), backend=counting)) == averaged(Network())
    assert len(GRAPHS) == 2
