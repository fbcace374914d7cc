"""Callbacks that end the training early."""

import math
import re
from copy import copy
from typing import TYPE_CHECKING, Any

import torch

from compat._console import say
from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import EmptyMetricError, InvalidTypeError, MissingMetricError, RefusedError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["AllPredictionsSame", "EarlyStopping", "TerminateOnNaN", "ThresholdEarlyStopping"]

# Words in metric names, in lower case. Where a name holds none of them nobody can tell what is better.
_USUALLY_MINIMISED = re.compile(
    r"(?<![a-z0-9])(bpc|bpd|brier|cer|cost|deviance|dist|distance|divergence|ece|fid|kl|lpips|mae|mape|mse|nll|perplexity"
    r"|ppl|regret|rmse|rmsle|smape|ter|wer)(?![a-z0-9])"
)
_USUALLY_MAXIMISED = re.compile(
    r"(?<![a-z0-9])(acc|accuracy|ap|auc|aupr|auprc|auroc|bleu|chrf|correct|corr|correlation|coverage|dice|em|exact|f1|f2"
    r"|fbeta|gain|hit|hits|iou|jaccard|kappa|likelihood|map|matthews|mcc|meteor|miou|mrr|ndcg|pearson|prauc|precision"
    r"|psnr|r2|recall|return|reward|roc|rocauc|rouge|score|sensitivity|similarity|spearman|specificity|ssim|success|tpr"
    r"|variance)(?![a-z0-9])"
)


def _watched_values(train_loop_obj: "TrainLoop", monitor: str) -> list[Any]:
    """Return the recorded values of a metric that a callback watches.

    With a ``MultiLoss`` the history holds each loss under a name of its own, and nothing under ``loss``,
    ``accumulated_loss`` and ``val_loss``; what is watched under such a name is the mean over the losses (Q47).

    Args:
        train_loop_obj: The training loop.
        monitor: The name of the metric.

    Returns:
        At least one value, the latest last.

    Raises:
        MissingMetricError: The history does not hold the metric.
        EmptyMetricError: It holds no value of it yet.
    """
    history = train_loop_obj.train_history
    if monitor not in history:
        raise MissingMetricError(
            f"The training history holds no metric {monitor!r}. It holds: {', '.join(map(str, history.keys()))}. "
            "Watch one of these; val_loss needs a validation_loader, and a metric of another callback has to be "
            "recorded by one with a lower execution_order."
        )
    values: list[Any] = history[monitor]
    if not values:
        values = state_of(train_loop_obj).mean_losses.get(monitor, [])
        if values:
            state_of(train_loop_obj).quirks.met("Q47", f"{monitor!r} is watched as the mean over the losses")
    if not values:
        filled = [str(name) for name, recorded in history.items() if recorded]
        raise EmptyMetricError(
            f"The training history holds no value of {monitor!r} yet, but of: {', '.join(filled) or 'none'}."
            " Losses are recorded when end_auto_eval is on: switch it on, or watch another metric."
        )
    return values


class EarlyStopping(AbstractCallback):
    """Stop when a metric has not improved for some epochs.

    Metrics with ``loss`` or ``error`` in their name are minimised, all others maximised.

    Args:
        monitor: The metric to watch.
        min_delta: By how much a value has to be better than the best one to count as better.
        patience: How many epochs in a row without improvement are let pass; one more stops the training.

    Note:
        ``patience=-1`` stops at the second epoch even if it is better. NaN in the first epoch is never improved upon.
        The quirks ``Q69`` and ``Q70`` switch to the usual ways: ``patience`` epochs stop the training, usual names of
        errors and distances are minimised, NaN is never the best value, and an epoch without a new value is let pass.

    Attributes:
        patience_count: How many more epochs without improvement are let pass.
        best_performance: The best value so far.
        best_epoch: Its epoch.
    """

    # The same callback under the other mode of a quirk, looking on until the two part.
    _others: "dict[str, EarlyStopping] | None" = None

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0) -> None:
        """Start with nothing observed."""
        super().__init__("EarlyStopping", execution_order=99)
        self.monitor = monitor
        self.min_delta = min_delta
        self.patience = patience
        self.patience_count = patience
        self.best_performance: Any = None
        self.best_epoch = 0
        self._values_seen = 0
        self._last_seen_at: tuple[int, int] | None = None
        self._others = None

    def on_epoch_end(self) -> None:
        """Compare the latest value with the best one, and stop when patience is over."""
        values = _watched_values(self.train_loop_obj, self.monitor)
        quirks = state_of(self.train_loop_obj).quirks
        is_stale = len(values) == self._values_seen
        self._values_seen = len(values)
        # Registered twice, it looks twice in one epoch (Q07): that is no epoch without a value.
        now = (self.train_loop_obj.epoch, self.train_loop_obj.total_iteration_idx)
        is_second_look, self._last_seen_at = now == self._last_seen_at, now
        value = values[-1]
        usual, waits = quirks.fixed("Q69"), quirks.fixed("Q70")
        others = self._look_on()
        if not usual and not (waits and is_stale):
            self._warn_of_direction_and_nan(value)
        is_over = self._look(value, is_stale, usual=usual, waits=waits)
        if is_stale and not is_second_look and not waits and self.patience_count < self.patience:
            quirks.foretell(
                "Q70",
                f"epoch {self.train_loop_obj.epoch} has no new value of {self.monitor!r}, and EarlyStopping counts it "
                "as an epoch without improvement",
            )
        for quirk, modes in (("Q69", (not usual, waits)), ("Q70", (usual, not waits))):
            if quirk in others:
                is_over_there = others[quirk]._look(value, is_stale, usual=modes[0], waits=modes[1])
                self._part(quirk, is_over, is_over_there)
        if is_over:
            self.train_loop_obj.early_stop = True
            say(f"Early stopping at epoch: {self.train_loop_obj.epoch}. Best recorded epoch: {self.best_epoch}.")

    def _look(self, value: Any, is_stale: bool, *, usual: bool, waits: bool) -> bool:
        """Take a value in, in the way that the modes of Q69 and Q70 say, and tell whether patience is over."""
        if is_stale and waits:
            return False
        return self._count_as_usual(value) if usual else self._count(value)

    def _look_on(self) -> dict[str, "EarlyStopping"]:
        if self._others is None:
            self._others = {}
            self._others = {quirk: copy(self) for quirk in ("Q69", "Q70")}
        return self._others

    def _part(self, quirk: str, is_over: bool, is_over_there: bool) -> None:
        """Count the first epoch in which one mode of a quirk stops the training and the other does not."""
        if is_over == is_over_there:
            return
        others = self._look_on()
        del others[quirk]
        loop = self.train_loop_obj
        last = state_of(loop).target.num_epochs
        # The fit ends here in either case.
        if last is None or loop.epoch + 1 < last:
            text = f"EarlyStopping {'stops' if is_over else 'goes on'} after epoch {loop.epoch}"
            if quirk == "Q69" and not is_over and self.patience_count == 0:
                text = (
                    f"EarlyStopping(patience={self.patience}) has met {self.patience} in a row without improvement, and"
                    " goes on for one more epoch"
                )
            state_of(loop).quirks.met(quirk, text)

    def _count(self, value: Any) -> bool:
        if self.best_performance is None:
            self._take_as_best(value)
            return False
        if self._is_better(value, minimise=_has_loss_or_error(self.monitor)):
            self._take_as_best(value)
            self.patience_count = self.patience
        else:
            self.patience_count -= 1
        return self.patience_count < 0

    def _count_as_usual(self, value: Any) -> bool:
        minimise = _has_loss_or_error(self.monitor) or _is_named(self.monitor, _USUALLY_MINIMISED)
        if not _is_nan(value) and (self.best_performance is None or self._is_better(value, minimise=minimise)):
            self._take_as_best(value)
            self.patience_count = self.patience
            return False
        self.patience_count -= 1
        return self.patience_count <= 0

    def _is_better(self, value: Any, *, minimise: bool) -> bool:
        try:
            # The terms stand as they do in the old loop: rearranged, other values at the very limit would count.
            if minimise:
                return bool(value < self.best_performance - self.min_delta)
            return bool(value > self.best_performance + self.min_delta)
        except TypeError as error:
            raise _not_a_number(type(self).__name__, self.monitor, value) from error

    def _take_as_best(self, value: Any) -> None:
        self.best_performance = value
        self.best_epoch = self.train_loop_obj.epoch

    def _warn_of_direction_and_nan(self, value: Any) -> None:
        quirks = state_of(self.train_loop_obj).quirks
        is_surely_maximised = _is_named(self.monitor, _USUALLY_MAXIMISED) and not _is_named(
            self.monitor, _USUALLY_MINIMISED
        )
        if not _has_loss_or_error(self.monitor) and not is_surely_maximised:
            quirks.foretell(
                "Q69", f"EarlyStopping maximises {self.monitor!r}, whose name holds neither 'loss' nor 'error'"
            )
        if self.best_performance is None and _is_nan(value):
            quirks.foretell("Q69", f"the first value of {self.monitor!r} is NaN, and no later value is better than NaN")


class ThresholdEarlyStopping(AbstractCallback):
    """Stop when a metric has been on the wrong side of a threshold for some epochs.

    Args:
        monitor: The metric to watch. With ``loss`` or ``error`` in its name it must not be above the threshold,
            otherwise not below. NaN is taken for good.
        threshold: The threshold; to be equal is good enough.
        patience: How many epochs in a row on the wrong side are let pass; one more stops the training, be it the first.

    Attributes:
        patience_count: How many more epochs on the wrong side are let pass.
    """

    def __init__(self, monitor: str, threshold: float, patience: int = 0) -> None:
        """Start with nothing observed."""
        super().__init__("Threshold early stopping", execution_order=99)
        self.monitor = monitor
        self.threshold = threshold
        self.patience = patience
        self.patience_count = patience

    def on_epoch_end(self) -> None:
        """Compare the latest value with the threshold, and stop when patience is over."""
        value = _watched_values(self.train_loop_obj, self.monitor)[-1]
        try:
            is_worse = value > self.threshold if _has_loss_or_error(self.monitor) else value < self.threshold
        except TypeError as error:
            raise _not_a_number(type(self).__name__, self.monitor, value) from error
        if _is_nan(value):
            state_of(self.train_loop_obj).quirks.met("Q71", f"the value of {self.monitor!r} is NaN")
        self.patience_count = self.patience_count - 1 if is_worse else self.patience
        if self.patience_count < 0:
            self.train_loop_obj.early_stop = True
            say(f"Threshold performance not reached. Early stopping at epoch: {self.train_loop_obj.epoch}.")


class TerminateOnNaN(AbstractCallback):
    """Stop when a metric is NaN or infinite.

    Args:
        monitor: The metric to watch. ``None`` among its values is passed over.
    """

    def __init__(self, monitor: str = "loss") -> None:
        """Keep the name of the metric."""
        super().__init__("TerminateOnNaN", execution_order=98)
        self.monitor = monitor

    def on_epoch_end(self) -> None:
        """Look at the latest value, and stop if it is not finite."""
        value = _watched_values(self.train_loop_obj, self.monitor)[-1]
        if value is None:
            return
        try:
            is_finite = math.isfinite(value)
        except TypeError as error:
            raise _not_a_number(type(self).__name__, self.monitor, value) from error
        if not is_finite:
            self.train_loop_obj.early_stop = True
            say(f"Terminating on {self.monitor} = {value} at epoch: {self.train_loop_obj.epoch}.")


class AllPredictionsSame(AbstractCallback):
    """Tell, and stop if asked to, when all predictions of the validation set are one and the same value.

    Args:
        value: The value to look for.
        stop_training: Stop then.
        verbose: Print a line then.
    """

    def __init__(self, value: float = 0.0, stop_training: bool = False, verbose: bool = True) -> None:
        """Keep the arguments."""
        super().__init__("All predictions have the same value")
        self.value = value
        self.stop_training = stop_training
        self.verbose = verbose

    def on_epoch_end(self) -> None:
        """Predict the validation set, and compare.

        Raises:
            RefusedError: Predictions of more than one number a sample.
        """
        predictions, _, _ = self.train_loop_obj.predict_on_validation_set()
        if not self._are_all_same(predictions):
            return
        if self.verbose:
            say(f"All the predicted values are of the same value: {self.value}")
        if self.stop_training:
            say("Executing early stopping")
            self.train_loop_obj.early_stop = True

    def _are_all_same(self, predictions: Any) -> bool:
        if isinstance(predictions, torch.Tensor) and predictions.numel() == len(predictions):
            return bool((predictions == self.value).all())
        try:
            return all(row == self.value for row in predictions)
        except (RuntimeError, ValueError) as error:
            shape = tuple(getattr(predictions, "shape", ())) or f"{len(predictions)} entries"
            raise RefusedError(
                f"AllPredictionsSame compares one number a sample with value={self.value}, and the predictions of the "
                f"validation set have the shape {shape}. Pass a pred_transform_fn to the TrainLoop that makes one "
                "number of each, or override on_epoch_end."
            ) from error


def _has_loss_or_error(monitor: str) -> bool:
    name = monitor.lower()
    return "loss" in name or "error" in name


def _is_named(monitor: str, words: re.Pattern[str]) -> bool:
    return words.search(monitor.lower()) is not None


def _is_nan(value: Any) -> bool:
    # The only value that differs from itself, be it a float, a tensor without dimensions or a numpy scalar.
    differs = value != value
    return differs is True or (getattr(differs, "ndim", None) == 0 and bool(differs))


def _not_a_number(callback: str, monitor: str, value: Any) -> InvalidTypeError:
    return InvalidTypeError(
        f"{callback} watches {monitor!r}, whose latest value is {value!r}, a {type(value).__name__}. It needs one "
        "number an epoch: watch another metric, or record the part of this one that you mean under a name of its own."
    )
