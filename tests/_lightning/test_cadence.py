"""The reaches into Lightning's loops: every counter that a native part may read is right, whatever happens."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from compat import AbstractCallback
from compat._lightning.cadence import LazyLoader
from tests.toys import Linear, batches, data_loader, make_loop


def counters(loop: Any) -> dict[str, Any]:
    """Read what Lightning counted."""
    trainer = loop.trainer
    return {
        "global_step": trainer.global_step,
        "epoch": trainer.current_epoch,
        "batches": trainer.fit_loop.epoch_loop.batch_progress.total.completed,
        "batches_that_stepped": trainer.fit_loop.epoch_loop._batches_that_stepped,
        "batches_an_epoch": trainer.num_training_batches,
    }


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        (
            {"num_epochs": 2},
            {"global_step": 10, "epoch": 2, "batches": 10, "batches_that_stepped": 10, "batches_an_epoch": 5},
        ),
        (
            {"num_epochs": 2, "grad_accumulation": 3},
            {"global_step": 4, "epoch": 2, "batches": 10, "batches_that_stepped": 10, "batches_an_epoch": 5},
        ),
        (
            {"num_iterations": 7},
            {"global_step": 7, "epoch": 2, "batches": 7, "batches_that_stepped": 7, "batches_an_epoch": 5},
        ),
        (
            {"num_iterations": 1},
            {"global_step": 1, "epoch": 1, "batches": 1, "batches_that_stepped": 1, "batches_an_epoch": 5},
        ),
    ],
    ids=str,
)
def test_counters(fit: dict[str, Any], expected: dict[str, int]) -> None:
    loop = make_loop(train=batches(5), quirks={"Q11": "kept"})
    loop.fit(**fit)
    assert counters(loop) == expected


def test_counters_are_right_inside_the_epoch() -> None:
    class Look(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("look")
            self.seen: list[tuple[int, int]] = []

        def on_batch_end(self) -> None:
            trainer: Any = self.train_loop_obj.trainer
            self.seen.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.total.ready))

    look = Look()
    make_loop(train=batches(3)).fit(num_epochs=2, callbacks=[look])
    # The batch's own update counts by then: an exception here comes after it.
    assert look.seen == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]


def test_counters_are_right_when_a_batch_raises() -> None:
    class Fail(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("fail")

        def on_batch_begin(self) -> None:
            loop: Any = self.train_loop_obj
            if loop.total_iteration_idx == 3:
                raise RuntimeError("mine")

    loop = make_loop(train=batches(5))
    with pytest.raises(RuntimeError, match="mine"):
        loop.fit(num_epochs=1, callbacks=[Fail()])
    assert loop.trainer is not None
    progress: Any = loop.trainer.fit_loop.epoch_loop.batch_progress.total
    assert loop.trainer is not None
    assert loop.trainer.global_step == 3
    assert (progress.ready, progress.completed) == (4, 3)


def test_second_fit_starts_at_the_facades_epoch() -> None:
    loop = make_loop(quirks={"Q01": "fixed"})
    loop.fit(num_epochs=2)
    loop.fit(num_epochs=3)
    assert loop.trainer is not None
    assert loop.trainer.current_epoch == 3
    # Updates of all fits, as the facade counts its batches: a file name or a logged step comes but once.
    assert loop.trainer.global_step == 9
    assert counters(loop)["batches_that_stepped"] == 9


class Stream(IterableDataset[Any]):
    """Five samples and no length; notes how often it was opened."""

    opened = 0

    def __iter__(self) -> Any:
        """Yield the samples."""
        self.opened += 1
        yield from zip(*batches(1, 5)[0], strict=True)


def test_loader_without_length_runs_every_batch_once() -> None:
    stream = Stream()
    loop = make_loop(train=DataLoader(stream, batch_size=2), end_auto_eval=False)
    loop.fit(num_epochs=2)
    assert stream.opened == 2
    assert counters(loop)["batches"] == 6
    assert counters(loop)["batches_an_epoch"] == float("inf")


def test_loader_that_a_callback_swaps_is_the_one_that_is_trained_on() -> None:
    class Swap(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("swap")

        def on_train_begin(self) -> None:
            loop: Any = self.train_loop_obj
            loop.train_loader = batches(7)

    loop = make_loop(train=batches(3))
    loop.fit(num_epochs=1, callbacks=[Swap()])
    assert counters(loop)["batches"] == counters(loop)["batches_an_epoch"] == 7


def test_lazy_loader_opens_nothing_before_its_first_batch() -> None:
    loop = make_loop(train=data_loader(shuffle=True))
    state = torch.get_rng_state()
    lazy = LazyLoader(loop)
    iterator = iter(lazy)
    assert len(lazy) == 3
    assert torch.equal(state, torch.get_rng_state())
    loop.train_loader = batches(1)
    assert len(list(iterator)) == len(lazy) == 1


def test_no_random_number_is_drawn_beyond_those_of_the_bare_loop() -> None:
    torch.manual_seed(5)
    loader = data_loader(shuffle=True)
    for _ in range(2):
        list(loader)
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    make_loop(Linear(), data_loader(shuffle=True), end_auto_eval=False).fit(num_epochs=2)
    assert torch.equal(torch.get_rng_state(), expected)


def test_gradients_of_an_open_window_survive_the_start_of_a_fit() -> None:
    loop = make_loop(train=batches(3), quirks={"Q10": "kept", "Q02": "kept", "Q11": "kept"})
    loop.fit(num_iterations=1, grad_accumulation=2)
    leftover = loop.model.layer.weight.grad.clone()
    seen = []

    class Look(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("look")

        def on_batch_begin(self) -> None:
            seen.append(loop.model.layer.weight.grad.clone())

    loop.fit(num_iterations=2, grad_accumulation=2, callbacks=[Look()])
    assert torch.equal(seen[0], leftover)
