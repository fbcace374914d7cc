"""Fits on fewer batches: as many as Lightning takes, and everything else as on a shorter loader."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from compat import MultiOptimizer
from compat._evaluation import is_shuffled, length_of, random_state
from compat._lightning.limits import FirstBatches, FirstItems
from compat.exceptions import EmptyLoaderError, InvalidArgumentError, InvalidTypeError, QuirkWarning
from tests._lightning.limited import PARTS, ROWS, Seen, Sized, Stream, loaders_of, loop_of
from tests.toys import Linear, Recorder, TwoHeads, batches, data_loader, make_loop, on

# --- loaders of every kind ------------------------------------------------------------------------------------------


class Indexed:
    """A loader that knows its batches by number alone."""

    def __len__(self) -> int:
        """Count."""
        return 6

    def __getitem__(self, index: int) -> Any:
        """Return a batch."""
        return batches(6)[index]


class OwnIteration(DataLoader[Any]):
    """A loader that turns the order of its batches round, whatever its sampler says."""

    def __iter__(self) -> Any:
        """Turn round."""
        return reversed(list(super().__iter__()))


def with_batch_sampler() -> DataLoader[Any]:
    """Make a loader with a batch sampler of its own."""
    data = TensorDataset(*ROWS)
    return DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 2, False))


def in_whole_batches() -> DataLoader[Any]:
    """Make a loader whose samples are batches."""
    return DataLoader(PARTS, batch_size=None)  # type: ignore[arg-type]  # a list is a data set


KINDS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "a DataLoader": (lambda: data_loader(12), PARTS),
    "with a batch sampler": (with_batch_sampler, PARTS),
    "of whole batches": (in_whole_batches, PARTS),
    "with workers": (lambda: data_loader(12, num_workers=1, persistent_workers=True), PARTS),
    "with an iteration of its own": (lambda: OwnIteration(TensorDataset(*ROWS), batch_size=2), PARTS[::-1]),
    "over a stream": (lambda: DataLoader(Stream(), batch_size=2), PARTS),
    "a list": (lambda: list(PARTS), PARTS),
    "a tuple": (lambda: tuple(PARTS), PARTS),
    "an iterable with a length": (lambda: Sized(PARTS), PARTS),
    "known by number": (Indexed, batches(6)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_shorter_loaders_of_every_kind(kind: str) -> None:
    make, order = KINDS[kind]
    limits = {"limit_train_batches": 4, "limit_val_batches": 2, "limit_test_batches": 3}
    limited = loop_of(limits, make(), make(), make())
    loaders = loaders_of(limited)
    limited.fit(3)
    assert all(now is before for now, before in zip(loaders_of(limited), loaders, strict=True))
    short = loop_of({}, order[:4], order[:2], order[:3])
    short.fit(3)
    assert limited.train_history.train_history == short.train_history.train_history
    assert limited.total_iteration_idx == 11
    whole = loop_of({}, order, order, order)
    whole.fit(3)
    assert limited.train_history["val_loss"] != whole.train_history["val_loss"]


def test_a_loader_is_asked_for_no_batch_beyond_the_limit() -> None:
    train, validation = Sized(PARTS), Sized(PARTS)
    loop_of({"limit_train_batches": 2, "limit_val_batches": 1}, train, validation, end_auto_eval=2).fit(3)
    assert (train.opened, train.given) == (3 + 2, (3 + 2) * 2)
    assert (validation.opened, validation.given) == (2, 2)


def test_a_stream_that_ends_before_the_limit_is_used_as_it_is() -> None:
    loop = loop_of({"limit_train_batches": 100, "limit_val_batches": 100}, DataLoader(Stream(), batch_size=2), PARTS)
    loop.fit(2)
    assert loop.total_iteration_idx == 11


def test_shuffled_batches_are_the_first_ones_of_the_whole_loader_in_every_epoch() -> None:
    seen = []
    for limits in ({}, {"limit_train_batches": 2}):
        torch.manual_seed(3)
        model = Seen()
        loop_of(limits, data_loader(12, shuffle=True), model=model, end_auto_eval=False).fit(3)
        seen.append(model.trained)
    whole, limited = seen
    assert limited == [*whole[0:2], *whole[6:8], *whole[12:14]]
    assert limited[0:2] != limited[2:4]


# --- Lightning's numbers --------------------------------------------------------------------------------------------


class Native(pl.LightningModule):
    """Counts its batches, and sees the same rows as :class:`Seen`."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.trained: list[list[float]] = []
        self.evaluated: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Note."""
        self.trained.append(batch[0][:, 0].tolist())
        return self.layer(batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Note."""
        self.evaluated.append(batch[0][:, 0].tolist())

    def configure_optimizers(self) -> Any:
        """Make one."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


LIMITS: list[dict[str, Any]] = [
    {},
    {"limit_train_batches": 1},
    {"limit_train_batches": 4.0},
    {"limit_train_batches": 0.5, "limit_val_batches": 0.5},
    {"limit_train_batches": 0.34, "limit_val_batches": 0.3},
    {"limit_train_batches": 100, "limit_val_batches": 1},
    {"limit_val_batches": 0},
    {"limit_val_batches": 0.0},
    {"overfit_batches": 2},
    {"overfit_batches": 0.5},
    {"overfit_batches": 1.0},
    {"fast_dev_run": True},
    {"fast_dev_run": 3},
    {"fast_dev_run": 2, "limit_val_batches": 0},
]


@pytest.mark.filterwarnings("ignore:.*(num_workers|many workers|logging interval|shuffling for you|LeafSpec)")
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_trained_and_validated_batches_are_those_of_a_plain_trainer(limits: dict[str, Any]) -> None:
    shuffle = "overfit_batches" in limits
    native, ours = Native(), Seen()
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=0, **quiet, **limits)
    trainer.fit(native, data_loader(12, shuffle=shuffle), data_loader(10, shuffle=shuffle))
    loop = loop_of(limits, data_loader(12, shuffle=shuffle), data_loader(10, shuffle=shuffle), model=ours)
    # The evaluation of the training set, which a plain Trainer has not.
    loop.evaluate_loss_on_train_set = lambda *given, **named: torch.zeros(())
    loop.fit(2)
    assert ours.trained == native.trained
    assert ours.evaluated == native.evaluated


def test_overfitting_leaves_the_test_set_alone_and_gives_the_shuffled_loaders_back() -> None:
    train, model = data_loader(12, shuffle=True), Seen()
    loop = loop_of({"overfit_batches": 2}, train, None, PARTS, model=model)
    loop.fit(2)
    assert loop.train_loader is train
    assert isinstance(train.sampler, RandomSampler)
    # The training set after each epoch, as trained; in the end all of the test set.
    assert model.evaluated == [*model.trained, *(part[0][:, 0].tolist() for part in PARTS)]


# --- what depends on the length -------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [False, True], ids=["one optimizer", "two optimizers"])
def test_the_last_window_of_a_limited_epoch_is_an_update(two: bool) -> None:
    model: Any = TwoHeads() if two else Linear()
    parameters = [model.b.parameters(), model.a.parameters()] if two else [model.parameters()]
    optimizers = [torch.optim.SGD(each, lr=0.01) for each in parameters]
    optimizer: Any = MultiOptimizer(optimizers) if two else optimizers[0]
    counted: list[int] = []
    for each in optimizers:
        each.register_step_post_hook(lambda *given: counted.append(0))
    counts: list[Any] = []

    def count(loop: Any) -> None:
        counts.append((loop.get_num_training_steps(), len(loop.train_loader), loop.trainer.num_training_batches))

    loop = loop_of({"limit_train_batches": 5}, data_loader(16), model=model, optimizer=optimizer)
    loop.fit(2, callbacks=[on("batch_end", count)], grad_accumulation=3)
    assert len(counted) == 4 * len(optimizers)
    assert loop.trainer.global_step == 4
    assert set(counts) == {(2, 5, 5)}


def test_iterations_count_the_batches_that_there_are() -> None:
    loop = loop_of({"limit_train_batches": 2}, data_loader(12))
    loop.fit(num_iterations=5)
    assert (loop.total_iteration_idx, loop.epoch, loop.num_epochs) == (4, 2, 3)


def test_a_loader_in_the_fit_says_of_itself_what_the_whole_one_says() -> None:
    generator = torch.Generator()
    train, val, stream = data_loader(12, shuffle=True, generator=generator), Sized(PARTS), DataLoader(Stream())
    seen: list[Any] = []

    def look(loop: Any) -> None:
        loader, other = loop.train_loader, loop.validation_loader
        seen.append((len(loader), length_of(loader), is_shuffled(loader), random_state(loader) == random_state(train)))
        seen.append((isinstance(loader, DataLoader), loader.dataset is train.dataset, loader.batch_size))
        seen.append((len(other), other.items is PARTS, length_of(loop.test_loader)))
        other.note = "set in the fit"

    limits = {"limit_train_batches": 2, "limit_val_batches": 3, "limit_test_batches": 2}
    loop_of(limits, train, val, stream, end_auto_eval=False).fit(1, callbacks=[on("train_begin", look)])
    assert seen == [(2, 2, True, True), (True, True, 2), (3, True, None)]
    assert vars(val)["note"] == "set in the fit"


def test_views_can_be_copied_and_pickled() -> None:
    for view in (FirstBatches(Sized(PARTS), 2), FirstItems(SequentialSampler(PARTS), 2)):
        for twin in (copy.copy(view), copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
            assert (len(twin), len(list(twin))) == (2, 2)
    with pytest.raises(AttributeError, match="nothing"):
        FirstBatches(Sized(PARTS), 2).nothing  # noqa: B018


def test_a_smaller_batch_that_is_cut_off_is_no_reason_to_warn() -> None:
    args = {"accelerator": "cpu", "limit_train_batches": 2}
    make_loop(train=data_loader(7), lightning_args=args).fit(1)
    with pytest.warns(QuirkWarning, match="Q19"):
        make_loop(train=data_loader(7)).fit(1)


# --- nothing --------------------------------------------------------------------------------------------------------


def test_no_batches_to_validate_or_to_test_on_are_no_evaluation() -> None:
    loop = loop_of({"limit_val_batches": 0, "limit_test_batches": 0.0}, PARTS, PARTS, PARTS)
    asked: list[str] = []

    def ask(loop: Any) -> None:
        with pytest.raises(InvalidTypeError, match="its loader is None") as raised:
            loop.predict_on_validation_set()
        asked.append(str(raised.value))

    loop.fit(2, callbacks=[on("epoch_end", ask)])
    history = loop.train_history.train_history
    assert (len(history["loss"]), history["val_loss"], "train_end_test_loss" in history) == (2, [], False)
    assert len(asked) == 2
    assert loop.validation_loader is PARTS
    assert loop.test_loader is PARTS


def test_no_batches_to_train_on_are_a_fit_without_an_epoch() -> None:
    recorder, model = Recorder(), Linear()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loop = loop_of({"limit_train_batches": 0}, PARTS, PARTS, PARTS, model=model)
    assert loop.fit(2, callbacks=[recorder]) is model
    assert recorder.names() == ["registration", "train_begin", "train_end"]
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    assert loop.total_iteration_idx == -1
    assert loop.train_history["val_loss"] == []
    assert len(loop.train_history["train_end_test_loss"]) == 1


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "loaders", "error", "text"),
    [
        (
            {"limit_train_batches": 0.1},
            {"train": PARTS},
            InvalidArgumentError,
            r"'limit_train_batches': 0.1} of the 6 batches of loop.train_loader leaves none. Use at least 0.16",
        ),
        (
            {"limit_val_batches": 0.5},
            {"train": PARTS, "validation": DataLoader(Stream())},
            InvalidTypeError,
            "'limit_val_batches': 0.5} is a share of loop.validation_loader, which has no length. Use a number of",
        ),
        (
            {"overfit_batches": 0.2},
            {"train": PARTS, "validation": PARTS[:2]},
            InvalidArgumentError,
            "'overfit_batches': 0.2} of the 2 batches of loop.validation_loader leaves none",
        ),
    ],
)
def test_a_share_that_cannot_be_is_refused_before_anything_is_changed(
    limits: dict[str, Any], loaders: dict[str, Any], error: type[Exception], text: str
) -> None:
    recorder, loop = Recorder(), loop_of(limits, **loaders)
    with pytest.raises(error, match=text):
        loop.fit(1, callbacks=[recorder])
    assert recorder.events == []
    assert loop.train_loader is loaders["train"]


def test_a_share_of_no_loader_at_all_is_no_problem() -> None:
    loop_of({"limit_val_batches": 0.1, "limit_test_batches": 2}, PARTS).fit(1)


def test_an_empty_loader_is_the_same_error_as_ever() -> None:
    with pytest.raises(EmptyLoaderError):
        loop_of({"limit_train_batches": 0.5}, []).fit(1)
