"""Callbacks for looking into a loop and for trial runs."""

from collections.abc import Iterator
from typing import Any

import pytest

from compat import AbstractCallback, DataSubsetTestRun, FunctionOnTrainLoop, ListRegisteredCallbacks
from compat.exceptions import CompatError
from tests.toys import batches, make_loop


class Counting:
    """A loader that counts how many batches were taken from it."""

    def __init__(self, length: int = 5) -> None:
        self.batches, self.taken = batches(length), 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.taken += 1
            yield batch


class Lengths(AbstractCallback):
    """Notes the loaders' kinds and lengths at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__("lengths")
        self.seen: list[Any] = []

    def on_epoch_end(self) -> None:
        loop = self.train_loop_obj
        loaders: list[Any] = [loop.train_loader, loop.validation_loader, loop.test_loader]
        self.seen.append([(type(loader).__name__, len(loader)) for loader in loaders])


def test_listing_is_printed_when_the_training_begins(capsys: pytest.CaptureFixture[str]) -> None:
    make_loop().fit(num_epochs=1, callbacks=[ListRegisteredCallbacks()])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CALLBACKS"
    assert lines[lines.index("At on_train_begin:") + 1] == (
        "\tPrint the list of registered callbacks:"
        " <class 'aitoolbox.torchtrain.callbacks.basic.ListRegisteredCallbacks'>, execution_order: 0"
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param((1,), [("list", 1), ("Counting", 5), ("Counting", 5)], id="training only"),
        pytest.param((2, 1, 3), [("list", 2), ("list", 1), ("list", 3)], id="all three"),
        pytest.param((100,), [("list", 5), ("Counting", 5), ("Counting", 5)], id="more than there are"),
        pytest.param((0, 1), [("Counting", 5), ("list", 1), ("Counting", 5)], id="training loader left alone"),
    ],
)
def test_subsets(counts: tuple[int, ...], expected: list[Any]) -> None:
    loaders = [Counting() for _ in range(3)]
    loop = make_loop(train=loaders[0], validation=loaders[1], test=loaders[2])
    lengths = Lengths()
    loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(*counts), lengths])
    assert lengths.seen == [expected]
    assert [loop.train_loader, loop.validation_loader, loop.test_loader] == loaders


def test_second_fit_takes_a_subset_again() -> None:
    loop = make_loop(train=Counting(), quirks={"Q01": "kept"})
    lengths = Lengths()
    loop.validation_loader = loop.test_loader = Counting()
    loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(2), lengths])
    loop.fit(num_epochs=2)
    assert [seen[0] for seen in lengths.seen][-1] == ("list", 2)


def test_loaders_are_given_back_after_an_exception() -> None:
    def fail(loop: Any) -> None:
        raise OSError("disk full")

    loader = Counting()
    loop = make_loop(train=loader)
    with pytest.raises(OSError, match="disk full"):
        loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(1), FunctionOnTrainLoop(fail, epoch_end=True)])
    assert loop.train_loader is loader


def test_loader_put_in_meanwhile_stays() -> None:
    other = Counting()
    loop = make_loop(train=Counting())
    replace = FunctionOnTrainLoop(lambda tl: setattr(tl, "train_loader", other), train_end=True)
    loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(1), replace])
    assert loop.train_loader is other


@pytest.mark.parametrize(("count", "length"), [pytest.param(0, 5, id="0 takes all"), pytest.param(2, 2, id="2")])
def test_loaders_stay_replaced_when_kept(count: int, length: int) -> None:
    loop = make_loop(train=Counting(), quirks={"Q78": "kept"})
    loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(count)])
    assert type(loop.train_loader) is list
    assert len(loop.train_loader) == length


@pytest.mark.parametrize(("count", "taken"), [(0, 5), (1, 1), (3, 3), (9, 5), (-1, 5)])
def test_no_batch_more_than_needed_is_loaded(count: int, taken: int) -> None:
    loader = Counting()
    subset = DataSubsetTestRun.subset_data_loader(loader, count)
    assert isinstance(subset, list)
    assert len(subset) == loader.taken == taken


def test_negative_counts() -> None:
    with pytest.raises(ValueError, match=r"DataSubsetTestRun\(num_val_batches=-1\) is negative") as caught:
        DataSubsetTestRun(1, -1)
    assert isinstance(caught.value, CompatError)
    with pytest.raises(ValueError, match=r"(?s)2 problems:.*num_train_batches=-1.*num_test_batches=-2"):
        DataSubsetTestRun(-1, 0, -2)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        pytest.param(
            (1, 1, 0), r"^Validation loader was not provided to the TrainLoop, can't subset it to 1", id="val"
        ),
        pytest.param((1, 0, 2), r"^Test loader was not provided to the TrainLoop.*Pass test_loader=", id="test"),
        pytest.param((1, 1, 1), r"(?s)2 problems:.*Validation loader.*Test loader", id="both"),
    ],
)
def test_subset_of_a_loader_that_is_not_there(counts: tuple[int, int, int], text: str) -> None:
    loop = make_loop()
    with pytest.raises(ValueError, match=text):
        loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun(*counts)])
    assert loop.callbacks == []


POINTS = {
    "tl_registration": 1,
    "epoch_begin": 2,
    "epoch_end": 2,
    "train_begin": 1,
    "train_end": 1,
    "batch_begin": 6,
    "batch_end": 6,
    "after_gradient_update": 6,
    "after_optimizer_step": 4,
}


@pytest.mark.parametrize(("point", "times"), POINTS.items(), ids=list(POINTS))
def test_function_is_called_at_the_chosen_point(point: str, times: int) -> None:
    calls: list[Any] = []
    loop = make_loop(quirks={"Q11": "kept"})
    loop.fit(num_epochs=2, callbacks=[FunctionOnTrainLoop(calls.append, **{point: True})], grad_accumulation=2)
    assert calls == [loop] * times
    assert loop.grad_cb_used is point.startswith("after_")


def test_function_is_not_called_by_itself() -> None:
    make_loop().fit(num_epochs=1, callbacks=[FunctionOnTrainLoop(lambda loop: pytest.fail("called"))])


def test_function_at_all_points_in_order() -> None:
    counters: list[tuple[int, int]] = []
    callback = FunctionOnTrainLoop(
        lambda loop: counters.append((loop.epoch, loop.iteration)), **dict.fromkeys(POINTS, True), execution_order=3
    )
    make_loop().fit(num_epochs=1, callbacks=[callback])
    assert counters == [(0, 0)] * 7 + [(0, 1)] * 4 + [(0, 2)] * 6
    assert callback.execution_order == 3
