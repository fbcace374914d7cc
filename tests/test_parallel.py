"""The parallel wrappers: what of a model works through them, and what they keep of the old ones.

No test here runs on a GPU, so none cuts a batch into parts; without CUDA the wrapped model runs as it is. How a loss
with an entry for each replica is met is tested with a model that returns one.
"""

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from compat import TTBasicModel, TTDataParallel, TTDistributedDataParallel, TTModel, TTParallelBase
from tests.toys import Linear, batches

ONES = torch.ones(2, 3)


class Base(TTModel):
    """Has a method to be called by ``super()``."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the mean output."""
        return self(batch_data).mean()

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the output."""
        return self(batch_data), batch_data, {}


class Model(Base):
    """Touches everything that failed through the old wrappers."""

    made: ClassVar[list[type]] = []

    def __init__(self) -> None:
        """Set the attributes, one of them listed for transfer."""
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.register_buffer("offset", torch.zeros(1))
        self.listed, self.unlisted = 2.0, 3.0
        # Names of nn.DataParallel and of nn.Module.
        self.dim = 64
        self.__dict__["type"] = "text"
        self.act, self.double_it = torch.relu, _double
        self.chosen = self.helper
        self.transfer_model_attributes = ["listed"]

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.layer(inputs) + 5.0

    def helper(self, inputs: torch.Tensor) -> Any:
        """Call the model."""
        return self(inputs) * self.listed

    @staticmethod
    def plus_one(value: Any) -> Any:
        """Add one."""
        return value + 1

    @classmethod
    def make(cls) -> Any:
        """Note the class."""
        cls.made.append(cls)
        return cls

    @property
    def area(self) -> Any:
        """Read another attribute."""
        return self.unlisted * 2


class Registering:
    """Keeps a list of its subclasses."""

    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note the subclass."""
        cls.known.append(cls.__name__)


class Registered(Registering, Model):
    """In the list once."""


def _double(value: Any) -> Any:
    return value * 2


def seen_by(wrapper: Any, look: Any) -> Any:
    """Run a function as the model's ``get_loss``, and return what it returns."""
    wrapper.module.__dict__.pop("get_loss", None)
    cls = type(wrapper.module)
    traced = type(cls.__name__, (cls,), {"get_loss": lambda self, batch, criterion, device: look(self)})
    wrapper.module.__class__ = traced
    return wrapper.get_loss(None, None, None)


@pytest.fixture
def wrapper() -> TTDataParallel:
    """Return a wrapped model."""
    return TTDataParallel(Model())


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        pytest.param(lambda self: self.layer(ONES).shape, (2, 1), id="submodule"),
        pytest.param(lambda self: self.module.layer is self.layer, True, id="submodule in the way of the old wrapper"),
        pytest.param(lambda self: self.offset.shape, (1,), id="buffer"),
        pytest.param(lambda self: self.unlisted, 3.0, id="attribute that is not listed"),
        pytest.param(lambda self: (self.dim, self.type), (64, "text"), id="attributes named as the wrapper's"),
        pytest.param(lambda self: self.area, 6.0, id="property"),
        pytest.param(lambda self: self.plus_one(1), 2, id="static method"),
        pytest.param(lambda self: self.double_it(4), 8, id="attribute that holds a function"),
        pytest.param(lambda self: self.act(torch.tensor(-1.0)).item(), 0.0, id="attribute that holds a builtin"),
        pytest.param(lambda self: isinstance(self, Model), True, id="instance of its class"),
        pytest.param(lambda self: type(self).__name__, "Model", id="name of its class"),
        pytest.param(lambda self: hasattr(self, "nothing"), False, id="what is nowhere"),
        pytest.param(lambda self: self.device_ids, [], id="attribute of the wrapper"),
        pytest.param(lambda self: next(iter(self.state_dict())), "module.offset", id="keys of the wrapper"),
    ],
)
def test_model_code_finds_through_the_wrapper(look: Any, expected: Any, wrapper: Any) -> None:
    """Q65."""
    wrapper.device_ids = []
    assert seen_by(wrapper, look) == expected


def test_super_and_class_methods_mean_the_models_own_class() -> None:
    class Child(Model):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            assert self.make() is Child
            assert self.__class__ is Child
            return super().get_loss(batch_data, criterion, device) * 2

    model = Child()
    assert TTDataParallel(model).get_loss(ONES, None, None) == model(ONES).mean() * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda self: self(ONES),
        lambda self: self.forward(ONES),
        lambda self: self.helper(ONES),
        lambda self: self.chosen(ONES),
        lambda self: self.get_predictions(ONES, None),
    ],
    ids=["call", "forward", "in a method", "in a method that an attribute holds", "in the predictions"],
)
def test_model_code_calls_the_parallel_forward(call: Any, wrapper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    forward = TTDataParallel.forward

    def watched(self: Any, *inputs: Any) -> Any:
        calls.append(self)
        return forward(self, *inputs)

    monkeypatch.setattr(TTDataParallel, "forward", watched)
    seen_by(wrapper, call)
    assert calls == [wrapper]


def test_listed_attributes_are_copied_and_all_others_are_the_models() -> None:
    class Counts(Model):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            self.listed += 1
            self.unlisted += 1
            self.fresh = "new"
            return self.listed + self.unlisted

    model = Counts()
    wrapper: Any = TTDataParallel(model)
    assert wrapper.get_loss(None, None, None) == 3.0 + 4.0
    assert (wrapper.listed, model.listed) == (3.0, 2.0)
    assert (wrapper.unlisted, model.unlisted) == (4.0, 4.0)
    assert wrapper.fresh == model.fresh == "new"
    model.listed = 100.0
    wrapper.unlisted = 10.0
    assert wrapper.get_loss(None, None, None) == 4.0 + 11.0
    assert model.unlisted == 4.0


def test_mode_is_the_wrappers_and_a_change_of_it_reaches_all(wrapper: Any) -> None:
    assert seen_by(wrapper, lambda self: self.training)
    seen_by(wrapper, lambda self: self.eval())
    assert not any(module.training for module in wrapper.modules())


def test_methods_and_attributes_are_found_on_the_wrapper(wrapper: Any) -> None:
    assert torch.equal(wrapper.helper(ONES), wrapper(ONES) * 2)
    assert wrapper.layer is wrapper.module.layer
    with pytest.raises(AttributeError, match="'TTDataParallel' object has no attribute 'nothing'"):
        _ = wrapper.nothing


def test_the_core_methods_are_there_as_functions(wrapper: Any) -> None:
    assert wrapper.get_loss_fn is Base.get_loss
    assert wrapper.get_loss_eval_fn is TTModel.get_loss_eval
    assert wrapper.get_predictions_fn is Base.get_predictions


def test_evaluation_loss_goes_through_a_subclass_of_the_wrapper() -> None:
    class Doubling(TTDataParallel):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            return 2 * super().get_loss(batch_data, criterion, device)

    model = Model()
    assert Doubling(model).get_loss_eval(ONES, None, None) == 2 * model(ONES).mean()


def test_failing_property_of_a_subclass_of_the_wrapper_is_an_attribute_error() -> None:
    class Failing(TTDataParallel):
        @property
        def broken(self) -> Any:
            raise AttributeError("inside")

    with pytest.raises(AttributeError, match="'Failing' object has no attribute 'broken'"):
        _ = Failing(Model()).broken


def test_method_put_on_the_object_is_called_as_it_is() -> None:
    model: Any = Model()
    model.get_loss = lambda batch_data, criterion, device: "mine"
    assert TTDataParallel(model).get_loss(None, None, None) == "mine"


def test_making_a_view_registers_no_class() -> None:
    before = list(Registering.known)
    assert before == ["Registered"]
    assert TTDataParallel(Registered()).get_loss(ONES, None, None).shape == ()
    assert Registering.known == before


@pytest.mark.parametrize("copied", [lambda w: pickle.loads(pickle.dumps(w)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_are_wrappers_of_their_own(copied: Any, wrapper: Any) -> None:
    wrapper.module.chosen = None
    wrapper.listed = 7.0
    twin = copied(wrapper)
    assert type(twin) is TTDataParallel
    assert twin.listed == 7.0
    assert torch.equal(twin.get_loss(ONES, None, None), wrapper.get_loss(ONES, None, None))
    with torch.no_grad():
        twin.layer.weight.add_(1.0)
    assert not torch.equal(twin.helper(ONES), wrapper.helper(ONES))


def test_copy_of_self_is_a_wrapper(wrapper: Any) -> None:
    wrapper.module.chosen = None
    twin = seen_by(wrapper, copy.deepcopy)
    assert type(twin) is TTDataParallel
    assert twin is not wrapper


def test_state_dict_has_the_prefix_and_loads(wrapper: Any) -> None:
    state = wrapper.state_dict()
    assert list(state) == ["module.offset", "module.layer.weight", "module.layer.bias"]
    other = TTDataParallel(Model())
    other.load_state_dict(state)
    assert torch.equal(other(ONES), wrapper(ONES))


@pytest.mark.parametrize("listed", [None, (), "listed"])
def test_list_of_another_kind_transfers_nothing(listed: Any) -> None:
    model: Any = Model()
    model.transfer_model_attributes = listed
    wrapper: Any = TTDataParallel(model)
    model.listed = 50.0
    assert wrapper.listed == 50.0


def test_base_alone_lends_the_methods() -> None:
    wrapper: Any = TTParallelBase(Model())
    assert wrapper.plus_one(1) == 2
    assert wrapper.listed == 2.0
    assert not hasattr(wrapper, "training") or wrapper.training
    with pytest.raises(AttributeError, match="'TTParallelBase' object has no attribute 'nothing'"):
        _ = wrapper.nothing
    with pytest.raises(TypeError, match="not callable"):
        wrapper.get_loss(ONES, None, None)


@pytest.mark.parametrize("wrap", [TTParallelBase, TTDataParallel, TTDistributedDataParallel])
@pytest.mark.parametrize("model", [nn.Linear(1, 1), 5], ids=["module", "number"])
def test_what_has_no_loss_is_refused(wrap: Any, model: Any) -> None:
    with pytest.raises(AttributeError, match=f"{wrap.__name__} got a .* no get_loss, get_loss_eval, get_predictions"):
        wrap(model)


def test_listed_attribute_that_is_missing_is_refused() -> None:
    model = Model()
    model.transfer_model_attributes = ["listed", "lost"]
    with pytest.raises(AttributeError, match=r"Model.transfer_model_attributes lists 'lost', which the model"):
        TTDataParallel(model)


def test_unknown_argument_is_torchs_own_error() -> None:
    with pytest.raises(TypeError, match="devices"):
        TTDataParallel(Model(), devices=[0])


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """Hold a process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_wrapper_trains_as_the_model_alone() -> None:
    """In a group of one process; the gradients go through the reducer all the same."""
    alone, inside = Linear(), Linear()
    wrapper: Any = TTDistributedDataParallel(inside)
    assert next(iter(wrapper.state_dict())) == "module.layer.weight"
    for model in (alone, wrapper):
        model.get_loss(batches()[0], nn.MSELoss(), "cpu").backward()
    assert torch.equal(alone.layer.weight.grad, inside.layer.weight.grad)  # type: ignore[arg-type]
    assert wrapper.layer is inside.layer


def test_distributed_wrapper_needs_a_group() -> None:
    with pytest.raises(ValueError, match="process group"):
        TTDistributedDataParallel(Linear())


def test_control_the_model_alone_runs_no_parallel_forward() -> None:
    """What the view is for: bound to the model, the method would call the model."""
    model = Linear()
    assert isinstance(model, TTBasicModel)
    wrapper = TTDataParallel(model)
    calls: list[int] = []
    handle = wrapper.register_forward_hook(lambda *_: calls.append(1))
    model.get_loss(batches()[0], nn.MSELoss(), "cpu")
    assert calls == []
    wrapper.get_loss(batches()[0], nn.MSELoss(), "cpu")
    assert calls == [1]
    handle.remove()
