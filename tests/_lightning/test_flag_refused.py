"""``lightning_args``: what is refused, with its reason and the way to do it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compat import AbstractCallback, GradNormClip, _ledger
from compat._lightning.flag_refused import REFUSED
from compat._lightning.flags import Flags, read_flags
from compat.exceptions import RefusedError
from tests.toys import batches, make_loop, on

ASKED: dict[str, tuple[Any, str]] = {
    "max_epochs": (3, r"Use fit(num_epochs=)."),
    "max_steps": (10, "Use fit(num_iterations=), which counts batches."),
    "accumulate_grad_batches": (2, "automatic optimization only, and the loop has its own windows. Use fit(grad_acc"),
    "gradient_clip_val": (0.5, "Lightning clips in automatic optimization only. Use fit(callbacks=[GradNormClip("),
    "gradient_clip_algorithm": ("norm", "Use fit(callbacks=[GradNormClip(max_grad_norm)]), or GradValueClip("),
    "val_check_interval": (0.5, "evaluates the losses where an epoch ends. Evaluate more often in an old callback"),
    "check_val_every_n_epoch": (2, "Use TrainLoop(end_auto_eval=n): it evaluates when epoch % n == 0"),
    "num_sanity_val_steps": (2, "without a trial of the validation set, which would draw random numbers."),
    "reload_dataloaders_every_n_epochs": (1, "Put a new one into loop.train_loader in an old callback's on_epoch_b"),
    "sync_batchnorm": (True, "torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), then the TrainLoop."),
    "use_distributed_sampler": (False, "Give a loader a DistributedSampler of your own for as many processes"),
    "limit_predict_batches": (2, "fit predicts nothing on its own. Pass a shorter loader"),
    "model_registry": ("org/model", "fit(callbacks=[LightningModelCheckpoint(model_registry=...)]) of litmodels."),
}


def test_all_that_is_refused_is_asked_for_here() -> None:
    assert ASKED.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", ASKED)
def test_a_refusal_names_the_value_the_reason_and_the_way(name: str) -> None:
    value, text = ASKED[name]
    with pytest.raises(RefusedError) as raised:
        make_loop(lightning_args={name: value})
    assert str(raised.value).startswith(f"lightning_args={{{name!r}: {value!r}}} is not served. ")
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_clip_val", 0),
        ("gradient_clip_val", 0.0),
        ("val_check_interval", 1.0),
        ("num_sanity_val_steps", 0),
        ("limit_predict_batches", 1.0),
    ],
)
def test_a_value_that_changes_nothing_is_not_refused(name: str, value: Any) -> None:
    assert read_flags({name: value}) == (Flags(), [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("val_check_interval", 1), ("limit_predict_batches", 1), ("num_sanity_val_steps", -1), ("max_epochs", -1)],
)
def test_a_number_of_one_or_without_end_is_no_default(name: str, value: Any) -> None:
    assert [type(each) for each in read_flags({name: value})[1]] == [RefusedError]


def test_refusals_are_in_the_report_of_a_watched_program() -> None:
    _ledger.watch()
    try:
        read_flags({"sync_batchnorm": True})
        (entry,) = [entry for entry in _ledger.entries() if entry.kind == "refused"]
    finally:
        _ledger.unwatch()
        _ledger.clear()
    assert "'sync_batchnorm': True" in entry.feature


# --- the ways that are named ----------------------------------------------------------------------------------------


class _Evaluates(AbstractCallback):
    """Evaluates every second batch, as the refusal of ``val_check_interval`` says."""

    def __init__(self) -> None:
        super().__init__("evaluates")
        self.losses: list[float] = []

    def on_batch_end(self) -> None:
        """Evaluate."""
        loop = self.train_loop_obj
        if loop.iteration % 2:
            self.losses.append(float(loop.evaluate_loss_on_validation_set()))


def _swap(loop: Any) -> None:
    loop.train_loader = batches(2 + loop.epoch)


def _check_swap() -> None:
    loop = make_loop()
    loop.fit(2, callbacks=[on("epoch_begin", _swap)])
    assert loop.total_iteration_idx == 4


def _check_intervals() -> None:
    watcher = _Evaluates()
    make_loop(train=batches(4), validation=batches(2)).fit(2, callbacks=[watcher])
    assert len(set(watcher.losses)) == 4


def _check_clipping() -> None:
    steps = []
    for callbacks in ([], [GradNormClip(0.001)]):
        loop = make_loop()
        before = [parameter.clone() for parameter in loop.model.parameters()]
        loop.fit(1, callbacks=callbacks)
        pairs = zip(loop.model.parameters(), before, strict=True)
        steps.append(max(float((now - then).detach().abs().max()) for now, then in pairs))
    assert steps[1] <= 3 * 0.1 * 0.001 < steps[0]


def _check_batch_norm() -> None:
    convert: Any = torch.nn.SyncBatchNorm.convert_sync_batchnorm
    model = convert(torch.nn.Sequential(torch.nn.BatchNorm1d(3)))
    assert isinstance(model[0], torch.nn.SyncBatchNorm)


def _check_every_second_epoch() -> None:
    loop = make_loop(validation=batches(2), end_auto_eval=2)
    loop.fit(3)
    assert len(loop.train_history["val_loss"]) == 2


WAYS: dict[str, Callable[[], None]] = {
    "check_val_every_n_epoch": _check_every_second_epoch,
    "gradient_clip_val": _check_clipping,
    "reload_dataloaders_every_n_epochs": _check_swap,
    "sync_batchnorm": _check_batch_norm,
    "val_check_interval": _check_intervals,
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_that_a_refusal_names_works(name: str) -> None:
    WAYS[name]()
