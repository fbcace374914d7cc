"""What a loop carries from one fit to the next, and the quirks of that: kept, warned of, and fixed by a switch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import compat
from compat import AbstractCallback, TrainLoop
from compat.exceptions import QuirkWarning
from tests.toys import Linear, Recorder, batches, data_loader, make_loop

Fits = list[dict[str, Any]]


def counts(fits: Fits, **options: Any) -> tuple[list[int], TrainLoop]:
    """Run several fits on one loop; return the batches that each trained."""
    loop = make_loop(**options)
    trained = []
    for fit in fits:
        before = loop.total_iteration_idx
        loop.fit(**fit)
        trained.append(loop.total_iteration_idx - before)
    return trained, loop


# Batches trained by each fit, three batches an epoch: kept as in the old loop, then with the switch.
SECOND_FITS = [
    ("Q01", [{"num_epochs": 2}, {"num_epochs": 2}], [6, 3], [6, 0], "runs epoch 1 again"),
    ("Q01", [{"num_epochs": 2}, {"num_epochs": 4}], [6, 9], [6, 6], "runs epoch 1 again"),
    ("Q02", [{"num_iterations": 4}, {"num_iterations": 4}], [4, 3], [4, 4], "includes the 4 of earlier fits"),
    ("Q02", [{"num_iterations": 4}, {"num_iterations": 5}], [4, 1], [4, 5], "includes the 4 of earlier fits"),
]


@pytest.mark.parametrize(("quirk", "fits", "kept", "fixed", "text"), SECOND_FITS)
def test_second_fit(quirk: str, fits: Fits, kept: list[int], fixed: list[int], text: str) -> None:
    with pytest.warns(QuirkWarning, match=f"{quirk}: .*{text}.*{quirk}=fixed"):
        assert counts(fits)[0] == kept
    # With nothing left to train the corrected loop says so.
    assert counts(fits, quirks={quirk: "fixed", "Q102": "kept"})[0] == fixed
    assert counts(fits, quirks={quirk: "kept"})[0] == kept


def test_fixed_second_fit_goes_on_with_the_next_epoch() -> None:
    _, loop = counts([{"num_epochs": 2}], quirks={"Q01": "fixed"})
    recorder = Recorder()
    loop.fit(num_epochs=4, callbacks=[recorder])
    assert [event[1] for event in recorder.events if event[0] == "epoch_begin"] == [2, 3]


def test_iterations_first_then_fewer_epochs() -> None:
    with pytest.warns(QuirkWarning, match="Q02"):
        assert counts([{"num_epochs": 1}, {"num_iterations": 4}], quirks={"Q01": "kept"})[0] == [3, 1]


class StopNow(AbstractCallback):
    """Asks to stop in the first epoch."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__("stop")

    def on_epoch_end(self) -> None:
        """Stop."""
        loop: Any = self.train_loop_obj
        loop.early_stop = loop.epoch == 0


def test_early_stop_stays_set() -> None:
    def epochs(**options: Any) -> list[int]:
        loop = make_loop(**options)
        loop.fit(num_epochs=3, callbacks=[StopNow()])
        loop.callbacks.clear()
        loop.callbacks_handler = compat.CallbacksHandler(loop)
        lengths = [len(loop.train_history["accumulated_loss"])]
        loop.fit(num_epochs=3)
        return [*lengths, len(loop.train_history["accumulated_loss"])]

    with pytest.warns(QuirkWarning, match="Q05: early_stop is still set"):
        assert epochs(quirks={"Q01": "kept"}) == [1, 2]
    assert epochs(quirks={"Q01": "kept", "Q05": "fixed"}) == [1, 4]


def test_open_window_leaks_into_the_next_fit() -> None:
    def second_step(**options: Any) -> Any:
        torch.manual_seed(0)
        loop = make_loop(train=batches(5), **options)
        loop.fit(num_iterations=3, grad_accumulation=2)
        assert loop.model.layer.weight.grad is not None
        before = loop.model.layer.weight.clone()
        loop.fit(num_iterations=5, grad_accumulation=2)
        return before - loop.model.layer.weight

    silent = {"Q02": "kept", "Q11": "kept"}
    with pytest.warns(QuirkWarning, match="Q10"):
        kept = second_step(quirks=silent)
    assert not torch.equal(kept, second_step(quirks={**silent, "Q10": "fixed"}))


def test_last_window_is_divided_by_the_full_size() -> None:
    def last_gradient(**options: Any) -> Any:
        model = Linear()
        seen = []

        class Look(AbstractCallback):
            def __init__(self) -> None:
                super().__init__("look")

            def on_after_gradient_update(self, optimizer_idx: int) -> None:
                gradient = model.layer.weight.grad
                assert gradient is not None
                seen.append(gradient.clone())

            def on_train_loop_registration(self) -> None:
                loop: Any = self.train_loop_obj
                loop.grad_cb_used = True

        loop = make_loop(
            model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0), train=[batches(1)[0]] * 3, **options
        )
        loop.fit(num_epochs=1, callbacks=[Look()], grad_accumulation=2)
        return seen[1], seen[2]

    with pytest.warns(QuirkWarning, match="Q11: 3 batches in windows of 2: the last window has 1"):
        full, partial = last_gradient()
    assert torch.allclose(partial, full / 2)
    full, partial = last_gradient(quirks={"Q11": "fixed"})
    assert torch.allclose(partial, full)


@pytest.mark.parametrize(
    ("fit", "kept", "fixed"),
    [
        ({"num_epochs": 2, "grad_accumulation": 2}, 4, 6),
        ({"num_epochs": 1, "grad_accumulation": 10}, 0, 1),
        ({"num_iterations": 7, "grad_accumulation": 4}, 1, 2),
    ],
)
def test_number_of_training_steps(fit: dict[str, int], kept: int, fixed: int) -> None:
    class Ask(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("ask")
            self.answer = -1

        def on_train_begin(self) -> None:
            loop: Any = self.train_loop_obj
            self.answer = loop.get_num_training_steps()

    silent = {"Q11": "kept"}
    ask = Ask()
    with pytest.warns(QuirkWarning, match=f"Q13: .*returns {kept}, and the fit makes {fixed} updates"):
        make_loop(train=batches(5), quirks=silent).fit(**fit, callbacks=[ask])
    assert ask.answer == kept
    loop = make_loop(train=batches(5), quirks={**silent, "Q13": "fixed"})
    loop.fit(**fit, callbacks=[ask])
    assert loop.trainer is not None
    assert ask.answer == fixed == loop.trainer.global_step


def test_number_of_training_steps_before_fit_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="Call it from a callback"):
        make_loop().get_num_training_steps()


def test_losses_of_a_failed_fit_do_not_reach_the_next_epoch() -> None:
    class Fail(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("fail")

        def on_batch_end(self) -> None:
            loop: Any = self.train_loop_obj
            if loop.total_iteration_idx == 1:
                raise RuntimeError("mine")

    def first_record(**options: Any) -> tuple[int, float]:
        loop = make_loop(optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1), **options)
        with pytest.raises(RuntimeError, match="mine"):
            loop.fit(num_epochs=1, callbacks=[Fail()])
        loop.model.zero_grad()
        stale = len(loop.loss_batch_accum)
        loop.fit(num_epochs=1)
        return stale, loop.train_history["accumulated_loss"][0]

    untrained = make_loop(optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1))
    untrained.fit(num_epochs=1)
    right = untrained.train_history["accumulated_loss"][0]
    assert first_record() == (2, right)
    stale, kept = first_record(quirks={"Q16": "kept"})
    assert stale == 2
    assert kept != right


@pytest.mark.parametrize(
    ("value", "kept", "fixed"),
    [(2.0, 0, 2), ("x", 0, ValueError), (True, 4, 4), (2, 2, 2), (3, 2, 2), (False, 0, 0), (None, 0, 0), (-1, 4, 4)],
    ids=repr,
)
def test_auto_evaluation(value: Any, kept: int, fixed: int | type[Exception]) -> None:
    def records(**options: Any) -> int:
        loop = make_loop(end_auto_eval=value, **options)
        loop.fit(num_epochs=4)
        return len(loop.train_history["loss"])

    if kept == fixed:
        assert records() == kept
    else:
        with pytest.warns(QuirkWarning, match=f"Q17: end_auto_eval={value!r} is neither a bool nor an int"):
            assert records() == kept
    if isinstance(fixed, int):
        assert records(quirks={"Q17": "fixed"}) == fixed
    else:
        with pytest.raises(fixed, match="end_auto_eval='x' says neither"):
            records(quirks={"Q17": "fixed"})


def weights_after(loader: Callable[[], Any], **options: Any) -> Any:
    """Train two epochs from a fixed seed; return the weights."""
    torch.manual_seed(7)
    loop = make_loop(train=loader(), **options)
    loop.fit(num_epochs=3)
    return loop.model.layer.weight.detach().clone()


def test_auto_evaluation_of_a_shuffled_set_moves_the_generator() -> None:
    def loader() -> Any:
        return data_loader(shuffle=True)

    without = weights_after(loader, end_auto_eval=False)
    with pytest.warns(QuirkWarning, match="Q18"):
        assert not torch.equal(weights_after(loader), without)
    assert torch.equal(weights_after(loader, quirks={"Q18": "fixed"}), without)


def test_average_over_batches_or_samples() -> None:
    def loss(**options: Any) -> float:
        loop = make_loop(
            train=data_loader(5, 4), optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1), **options
        )
        loop.fit(num_epochs=1)
        assert loop.train_history["loss"] == loop.train_history["accumulated_loss"]
        return float(loop.train_history["loss"][0])

    x, y = batches(1, 5)[0]
    with torch.no_grad():
        rows = torch.nn.functional.mse_loss(Linear()(x), y, reduction="none").squeeze(1).double()
    with pytest.warns(QuirkWarning, match="Q19"):
        assert loss() == pytest.approx((rows[:4].mean().item() + rows[4].item()) / 2)
    assert loss(quirks={"Q19": "fixed"}) == pytest.approx(rows.mean().item())


def test_action_after_fit_runs_however_the_fit_ends() -> None:
    done = []

    class Ask(Recorder):
        def on_train_begin(self) -> None:
            loop: Any = self.train_loop_obj
            loop._compat.run_after_fit(lambda: done.append(self.names()))

        def on_train_end(self) -> None:
            super().on_train_end()
            raise RuntimeError("mine")

    loop = make_loop()
    with pytest.raises(RuntimeError, match="mine"):
        loop.fit(num_epochs=1, callbacks=[Ask()])
    assert len(done) == 1
    assert done[0][-1] == "train_end"
    loop._compat.run_after_fit(lambda: done.append([]))
    assert len(done) == 1
