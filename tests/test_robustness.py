"""What programs do around a loop: odd wrappers, odd loaders, fits inside fits, names of their own."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from compat import (
    AbstractCallback,
    AllPredictionsSame,
    DataSubsetTestRun,
    GradNormClip,
    ModelPredictionStore,
    MultiLoss,
    TrainLoop,
)
from compat._amp import LoopScaler
from compat._evaluation import length_of
from compat.exceptions import QuirkWarning
from tests.toys import Linear, Recorder, TwoHeads, batches, data_loader, make_loop, on

HOOKS = ["train_begin", "epoch_begin", "batch_begin", "batch_end"]


# --- the gradient scaler --------------------------------------------------------------------------------------------


def test_exception_between_unscale_and_step_does_not_spoil_the_next_fit() -> None:
    def train(fails: bool) -> Any:
        loop = make_loop()
        loop.amp_scaler = LoopScaler(device="cpu", init_scale=1024.0)

        def fail(loop: Any) -> None:
            if fails and loop.total_iteration_idx == 0:
                raise RuntimeError("mine")

        clip, failing = GradNormClip(1e9), on("after_gradient_update", fail)
        if fails:
            with pytest.raises(RuntimeError, match="mine"):
                loop.fit(num_epochs=1, callbacks=[clip, failing])
            loop.optimizer.zero_grad()
            loop.fit(num_epochs=1)
        else:
            loop.fit(num_epochs=1, callbacks=[clip, failing])
        return loop.model.layer.weight

    assert torch.equal(train(True), train(False))


@pytest.mark.parametrize("scaler", [torch.amp.GradScaler("cpu"), torch.amp.GradScaler("cpu", enabled=False)])
def test_users_own_scaler_trains(scaler: torch.amp.GradScaler) -> None:
    loop, plain = make_loop(), make_loop()
    loop.amp_scaler = scaler
    loop.fit(num_epochs=1)
    plain.fit(num_epochs=1)
    assert torch.allclose(loop.model.layer.weight, plain.model.layer.weight)


class Lookahead(torch.optim.Optimizer):
    """A wrapper that derives from torch's class and never initialises it."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        """Keep the wrapped optimizer."""
        self.inner, self.param_groups, self.steps = inner, inner.param_groups, 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # simpler than torch's overloads
        """Step the wrapped one."""
        self.steps += 1
        self.inner.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear through the wrapped one."""
        self.inner.zero_grad()


@pytest.mark.parametrize("amp", [False, True])
def test_optimizer_wrapper_that_skips_the_base_constructor(amp: bool) -> None:
    model = Linear()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1))
    loop = make_loop(model, optimizer=optimizer)
    if amp:
        loop.amp_scaler = LoopScaler(device="cpu")
    loop.fit(num_epochs=1)
    assert optimizer.steps == 3


def test_optimizer_state_keeps_its_objects() -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step()
            parameter = self.param_groups[0]["params"][0]
            self.state[parameter].setdefault("steps", self.seen).append(len(self.seen))

        seen: list[int] = []

    model = Linear()
    optimizer = Counting(model.parameters(), lr=0.1)
    loop = make_loop(model, optimizer=optimizer, quirks={"Q01": "kept"})
    loop.fit(num_epochs=1)
    loop.fit(num_epochs=2)
    assert len(optimizer.seen) == 9


# --- template methods -----------------------------------------------------------------------------------------------


def test_loss_changed_in_place_does_not_change_the_record() -> None:
    class Mine(TrainLoop):
        def _calculate_batch_loss(self, batch_data: Any) -> Any:
            loss = super()._calculate_batch_loss(batch_data)
            loss += 1.0
            return loss

    def accumulated(kind: type[TrainLoop]) -> list[float]:
        model = Linear()
        loop = kind(model, batches(), None, None, torch.optim.SGD(model.parameters(), 0.1), nn.MSELoss())
        loop.fit(num_epochs=1)
        recorded: list[float] = loop.train_history["accumulated_loss"]
        return recorded

    assert accumulated(Mine) == accumulated(TrainLoop)


def test_template_methods_are_called_with_the_old_keywords() -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    class Mine(TrainLoop):
        def _train(self, num_epochs: int, num_iterations: int, **more: Any) -> Any:  # type: ignore[override]  # likewise
            seen.append(("_train", tuple(more)))
            return super()._train(num_epochs, num_iterations, **more)

        def _print_save_loss(self, loss_parsed: Any, **more: Any) -> None:  # type: ignore[override]  # as programs do
            seen.append(("_print_save_loss", tuple(more)))
            super()._print_save_loss(loss_parsed, **more)

    model = Linear()
    Mine(model, batches(), None, None, torch.optim.SGD(model.parameters(), 0.1), nn.MSELoss()).fit(1)
    assert seen[0] == ("_train", ("callbacks", "grad_accumulation"))
    assert seen[1:] == [("_print_save_loss", ("loss_type_name", "loss_print_description"))] * 2


def test_subclass_may_use_any_other_name() -> None:
    class Mine(TrainLoop):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.quirks = ["mine"]
            self.trainer = "mine"
            self._running = self._window = self._stored = True

        @property
        def mean_losses(self) -> str:
            return "mine"

        def _batch_loss(self, only: Any) -> None:
            raise AssertionError

        _to_device = _auto_eval = run_after_fit = _batch_loss

    model = Linear()
    loop = Mine(model, batches(), batches(), None, torch.optim.SGD(model.parameters(), 0.1), nn.MSELoss())
    loop.fit(1)
    assert (loop.trainer, loop.quirks, loop.mean_losses) == ("mine", ["mine"], "mine")
    assert loop.total_iteration_idx == 2


@pytest.mark.parametrize(
    ("methods", "loaders"),
    [
        (["auto_execute_end_of_epoch", "auto_execute_end_of_training"], {"validation": 7, "test": []}),
        (["auto_execute_end_of_training"], {"test": []}),
    ],
    ids=["both", "test only"],
)
def test_loader_that_an_override_never_looks_at_is_not_judged(methods: list[str], loaders: dict[str, Any]) -> None:
    loop = make_loop(**loaders)
    for method in methods:
        setattr(loop, method, lambda: None)
    loop.fit(num_epochs=1)
    assert loop.total_iteration_idx == 2


def test_train_loader_is_not_judged_when_no_epoch_is_left() -> None:
    loop = make_loop(quirks={"Q102": "kept"})
    loop.fit(num_epochs=2)
    loop.train_loader = None
    loop.fit(num_epochs=1)
    assert loop.total_iteration_idx == 5


def test_prediction_store_is_asked_by_its_documented_methods() -> None:
    class Store(ModelPredictionStore):
        asked: list[str] = []

        def has_val_loss(self, iteration_idx: int) -> bool:
            self.asked.append("has")
            return super().has_val_loss(iteration_idx)

        def insert_val_loss(self, loss: Any, iteration_idx: int, force_prediction: bool = False) -> None:
            self.asked.append("insert")
            super().insert_val_loss(loss, iteration_idx, force_prediction)

    loop = make_loop(validation=batches(1))
    loop.prediction_store = Store(auto_purge=True)
    loop.evaluate_loss_on_validation_set()
    assert Store.asked == ["has", "insert"]


# --- the target of a fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["tl_registration", *HOOKS])
@pytest.mark.parametrize("attribute", ["num_epochs", "num_iterations"])
def test_target_is_frozen_when_fit_starts(hook: str, attribute: str) -> None:
    loop = make_loop()
    loop.fit(num_epochs=3, callbacks=[on(hook, lambda loop: setattr(loop, attribute, 2))])
    assert loop.total_iteration_idx == 8


def inner_fit_once(hook: str, **options: Any) -> TrainLoop:
    """Fit three epochs with a fit of one epoch inside, in the given hook."""
    loop = make_loop(quirks={"Q01": "kept", "Q10": "kept"})
    done: list[bool] = []

    def inside(loop: Any) -> None:
        if not done:
            done.append(True)
            loop.fit(num_epochs=1)

    loop.fit(num_epochs=3, callbacks=[on(hook, inside)], **options)
    return loop


def test_fit_inside_a_fit_leaves_the_outer_target_alone() -> None:
    assert len(inner_fit_once("train_begin").train_history["accumulated_loss"]) == 4


def test_actions_of_the_outer_fit_survive_an_inner_one() -> None:
    loop = make_loop(quirks={"Q01": "kept"})
    done: list[int] = []

    def inside(loop: Any) -> None:
        loop._compat.run_after_fit(lambda: done.append(len(done)))
        if not hasattr(loop, "nested"):
            loop.nested = True
            loop.fit(num_epochs=1)
        loop._compat.run_after_fit(lambda: done.append(len(done)))

    loop.fit(num_epochs=1, callbacks=[on("train_begin", inside)])
    assert len(done) == 4


# --- loaders --------------------------------------------------------------------------------------------------------


def test_results_of_a_subset_are_not_served_for_the_whole_loader() -> None:
    loop = make_loop(train=batches(4), validation=batches(5))
    loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(1, 1), AllPredictionsSame(value=9.0)])
    assert len(loop.validation_loader) == 5
    assert len(loop.predict_on_validation_set()[0]) == 10
    assert torch.equal(loop.evaluate_loss_on_validation_set(), loop.evaluate_model_loss(loop.validation_loader))


def test_asking_for_a_length_draws_no_random_number() -> None:
    class Drawing:
        def __len__(self) -> int:
            return 3 + int(torch.rand(1).item() * 0)

    before = torch.get_rng_state()
    assert length_of(Drawing()) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_loader_whose_length_fails_trains() -> None:
    class Loader:
        def __len__(self) -> int:
            raise AttributeError("no such thing")

        def __iter__(self) -> Any:
            return iter(batches())

    loop = make_loop(train=Loader(), end_auto_eval=False)
    loop.fit(num_epochs=2)
    assert loop.total_iteration_idx == 5


def test_losses_that_change_their_names_are_a_clear_error() -> None:
    class Model(TwoHeads):
        calls = 0

        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
            losses = super().get_loss(batch_data, criterion, device)
            self.calls += 1
            return losses if self.calls % 2 else MultiLoss({**losses.get_loss_dict(), "z": losses["a"]})

    loop = make_loop(Model())
    with pytest.raises(RuntimeError, match=r"\['b', 'a', 'z'\] for batch 1 and \['b', 'a'\] for batch 0"):
        loop.evaluate_loss_on_train_set()


def test_loss_without_a_graph_is_no_surplus() -> None:
    class Model(TwoHeads):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
            losses = super().get_loss(batch_data, criterion, device)
            return MultiLoss({"b": losses["b"], "a": losses["a"].detach()})

    for quirks in ({}, {"Q42": "fixed"}):
        model = Model()
        make_loop(model, optimizer=torch.optim.SGD(model.parameters(), 0.1), quirks=quirks).fit(num_epochs=1)


def test_device_may_be_a_string() -> None:
    loop = make_loop(validation=batches(1))
    loop.device = "cpu"  # type: ignore[assignment]
    loop.fit(num_epochs=1)
    assert loop.device == torch.device("cpu")


def test_history_entry_that_is_no_list_is_not_published() -> None:
    loop = make_loop()
    loop.fit(1, callbacks=[on("epoch_begin", lambda loop: loop.train_history.train_history.update(best={"a": 1}, n=3))])
    assert loop.trainer is not None
    assert set(loop.trainer.callback_metrics) == {"loss", "accumulated_loss"}


# --- warnings only where something changes --------------------------------------------------------------------------


def warned(**options: Any) -> set[str]:
    """Return the ids of the quirks that a fit warns of."""
    fit = options.pop("fit", {"num_epochs": 2})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        make_loop(**options).fit(**fit)
    return {str(entry.message)[:3] for entry in seen if issubclass(entry.category, QuirkWarning)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, set(), id="nothing odd"),
        pytest.param({"validation": data_loader(5, 4)}, {"Q19"}, id="smaller validation batch"),
        pytest.param({"validation": data_loader(5, 4), "end_auto_eval": False}, set(), id="that nobody evaluates"),
        pytest.param(
            {"train": batches(5), "fit": {"num_iterations": 4, "grad_accumulation": 2}}, set(), id="window not reached"
        ),
        pytest.param(
            {"train": batches(5), "fit": {"num_iterations": 6, "grad_accumulation": 2}}, {"Q11"}, id="window reached"
        ),
        pytest.param({"train": data_loader(shuffle=True), "fit": {"num_epochs": 1}}, set(), id="one shuffled epoch"),
        pytest.param({"train": data_loader(shuffle=True)}, {"Q18"}, id="two shuffled epochs"),
    ],
)
def test_quirk_warns_where_it_changes_something(options: dict[str, Any], expected: set[str]) -> None:
    assert warned(**options) == expected


def test_cleared_gradients_leak_nothing_and_warn_of_nothing() -> None:
    loop = make_loop(quirks={"Q02": "kept", "Q11": "kept"})
    loop.fit(num_iterations=1, grad_accumulation=2)
    loop.optimizer.zero_grad()
    loop.fit(num_iterations=2, grad_accumulation=2)


def test_switch_that_is_set_later_counts_for_every_average() -> None:
    from compat import quirks

    frozen = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    loop = make_loop(train=data_loader(5, 4), optimizer=frozen)
    quirks.set(Q19="fixed")
    try:
        loop.fit(num_epochs=1)
    finally:
        quirks.reset()
    assert loop.train_history["loss"] == loop.train_history["accumulated_loss"]


def test_recorder_of_a_program_may_have_a_trainer_of_its_own() -> None:
    class Named(Recorder):
        trainer = "mine"

    recorder: AbstractCallback = Named()
    make_loop().fit(num_epochs=1, callbacks=[recorder])
    assert recorder.trainer == "mine"  # type: ignore[attr-defined]
