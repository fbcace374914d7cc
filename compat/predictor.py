"""Predictions, losses and metrics of a trained model, without a training."""

import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from compat import _evaluation
from compat._console import say
from compat._evaluation import Predictions
from compat._ledger import used
from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.evaluation import _check_package
from compat.exceptions import CompatWarning, InvalidTypeError, RefusedError
from compat.train_loop import TrainLoop

__all__ = ["PyTorchModelPredictor"]

# Where torch keeps what the digest holds, and the mode, which the loop sets.
_DIGESTED = frozenset({"training", "_parameters", "_buffers", "_non_persistent_buffers_set"})


@dataclass(frozen=True, eq=False)
class _Source:
    """What a stored result was computed from: the objects themselves, and a digest of what they hold."""

    objects: tuple[Any, ...]
    digest: bytes

    def differs(self, other: "_Source") -> bool:
        return self.digest != other.digest or any(a is not b for a, b in zip(self.objects, other.objects, strict=True))


class PyTorchModelPredictor:
    """Predict and evaluate the batches of a loader.

    Predictions and the loss are computed once and served from then on, as long as the model, its weights, the loader
    and the criterion stay what they are.

    Args:
        model: A ``TTModel``, or a ``ModelWrap`` of a torch module and a feed definition.
        data_loader: The batches.
        callbacks: Callbacks to register with the loop inside.

    Attributes:
        model: The argument.
        data_loader: The argument.
        train_loop: The loop inside, whose test set the batches are.

    Note:
        A change is seen in parameters, buffers and plain attributes of the modules, and when an object takes the place
        of another. A data set that is changed in place is not seen: make a new predictor then.

    Raises:
        InvalidTypeError: The model or a callback is of the wrong kind.
    """

    def __init__(
        self, model: Any, data_loader: Any, callbacks: Sequence[AbstractCallback] | AbstractCallback | None = None
    ) -> None:
        """Make the loop inside, and move the model to its device."""
        used(self)
        self.model = model
        self.data_loader = data_loader
        self.train_loop = TrainLoop(model, None, None, data_loader, None, None)
        self.train_loop.callbacks_handler.register_callbacks(callbacks)
        _evaluation.to_device(self.train_loop, with_criterion=False)
        # What the old predictor would go on giving, by what the store calls it, until it is computed anew.
        self._outdated: dict[str, tuple[Any, str]] = {}
        self._model_source: _Source | None = None
        self._criterion_source: _Source | None = None

    def model_predict(self) -> Predictions:
        """Predict the batches. The model is in ``train()`` mode afterwards.

        Returns:
            Predictions ``(N, ...)``, targets ``(N, ...)`` and metadata, tensors on the CPU.
        """
        return self._predictions()

    def _predictions(self) -> Predictions:
        self._forget_outdated()
        predictions = self.train_loop.predict_on_test_set()
        self._count_difference("test_pred", predictions)
        return predictions

    def model_get_loss(self, loss_criterion: Any) -> Any:
        """Evaluate the loss. The model is in ``train()`` mode afterwards.

        Args:
            loss_criterion: What the model's ``get_loss`` is given as its criterion.

        Returns:
            A 0-dim float64 tensor on the CPU, or a ``MultiLoss`` of such.
        """
        self.train_loop.criterion = loss_criterion
        self._forget_outdated()
        self._forget_loss_of_another()
        loss = self.train_loop.evaluate_loss_on_test_set()
        self._count_difference("test_loss", loss)
        return loss

    def evaluate_model(
        self,
        result_package: Any,
        project_name: str,
        experiment_name: str,
        local_model_result_folder_path: str,
        cloud_save_mode: str | None = "s3",
        bucket_name: str = "model-result",
        cloud_dir_prefix: str = "",
        save_true_pred_labels: bool = False,
    ) -> None:
        """Refuse: this version writes no result files.

        Raises:
            RefusedError: Always, and before anything is computed.
        """
        raise RefusedError(
            "PyTorchModelPredictor.evaluate_model writes files of results, which this version does not do yet. Use"
            " evaluate_result_package(result_package), which computes the same and returns it."
        )

    def evaluate_result_package(self, result_package: Any, return_result_package: bool = True) -> Any:
        """Compute the metrics of a result package.

        A package that asks for the loss gets it under ``loss`` in the metadata, by the criterion that
        :meth:`model_get_loss` was called with before.

        Args:
            result_package: What computes the metrics.
            return_result_package: Return the package; otherwise its results.

        Returns:
            The package, or a dict of results by metric name.

        Raises:
            MissingAttributeError: ``result_package`` is no result package.
            InvalidTypeError: It is the class of one.
        """
        _check_package(result_package)
        # Not model_predict, here and below: an override of that is for its callers alone, as in the old library.
        y_pred, y_true, metadata = self._predictions()
        if getattr(result_package, "requires_loss", False):
            metadata = self._with_loss(metadata, result_package)
        result_package.prepare_result_package(y_true, y_pred, hyperparameters={}, additional_results=metadata)
        return result_package if return_result_package else result_package.get_results()

    def _with_loss(self, metadata: dict[str, Any], package: Any) -> dict[str, Any]:
        if self._criterion_source is None:
            warnings.warn(
                f"{type(package).__name__} asks for the loss, and the predictor knows no criterion. Call"
                " model_get_loss(criterion) before evaluate_result_package.",
                CompatWarning,
                stacklevel=3,
            )
            return metadata
        self._forget_loss_of_another()
        state_of(self.train_loop).quirks.met("Q126", "the package got the loss that it asks for")
        # A dict of its own: the predictions are stored, and the next reader wants the model's own metadata.
        return {**metadata, "loss": self.train_loop.evaluate_loss_on_test_set(float_dict_format=True)}

    def evaluate_metric(self, metric_class: Any, return_metric: bool = True) -> Any:
        """Compute a metric.

        Args:
            metric_class: The class of the metric; it is called with targets and predictions.
            return_metric: Return the metric; otherwise its result by its name.

        Returns:
            The metric, or a dict.

        Raises:
            InvalidTypeError: It is no class.
        """
        _check_metric_class(metric_class)
        y_pred, y_true, _ = self._predictions()
        metric = metric_class(y_true, y_pred)
        return metric if return_metric else metric.get_metric_dict()

    def evaluate_metric_list(self, metrics_class_list: Iterable[Any], return_metric_list: bool = True) -> Any:
        """Compute several metrics.

        Args:
            metrics_class_list: The classes of the metrics.
            return_metric_list: Return the metrics; otherwise their results by their names.

        Returns:
            A list of the metrics, or a dict with the last metric first.

        Raises:
            InvalidTypeError: One of them is no class.
        """
        classes = list(metrics_class_list)
        for metric_class in classes:
            _check_metric_class(metric_class)
        y_pred, y_true, _ = self._predictions()
        metrics = [metric_class(y_true, y_pred) for metric_class in classes]
        if return_metric_list:
            return metrics
        results: dict[str, Any] = {}
        for metric in metrics:
            results = metric + results
        return results

    def execute_batch_end_callbacks(self) -> None:
        """Run ``on_batch_end`` of the callbacks."""
        if self._has_callbacks("execute_batch_end_callbacks"):
            self.train_loop.callbacks_handler.execute_batch_end()

    def execute_epoch_end_callbacks(self) -> None:
        """Run ``on_epoch_end`` of the callbacks."""
        if self._has_callbacks("execute_epoch_end_callbacks"):
            self.train_loop.callbacks_handler.execute_epoch_end()

    def _has_callbacks(self, method: str) -> bool:
        if not self.train_loop.callbacks:
            say(f"{method} has no effect as there are no registered callbacks")
        return bool(self.train_loop.callbacks)

    def _forget_outdated(self) -> None:
        """Forget what was computed with another model, other weights or other batches."""
        loop = self.train_loop
        now = _Source((loop.model, loop.batch_model_feed_def, loop.test_loader), _digest(loop.model))
        before, self._model_source = self._model_source, now
        if before is not None and before.differs(now):
            self._forget("test_pred", "test_loss", because="the model or its batches")

    def _forget_loss_of_another(self) -> None:
        """Forget the loss of another criterion."""
        criterion = self.train_loop.criterion
        now = _Source((_identity_of(criterion),), _digest(criterion) if isinstance(criterion, nn.Module) else b"")
        before, self._criterion_source = self._criterion_source, now
        if before is not None and before.differs(now):
            self._forget("test_loss", because="the criterion")

    def _forget(self, *keys: str, because: str) -> None:
        quirks, store = state_of(self.train_loop).quirks, self.train_loop.prediction_store.prediction_store
        stored = [key for key in keys if key in store]
        if not quirks.fixed("Q33"):
            if stored:
                quirks.met("Q33", f"{because} changed, so {' and '.join(stored)} would have to be computed anew")
            return
        for key in stored:
            # What was computed first is what the old predictor still gives after a second change.
            self._outdated.setdefault(key, (store[key], because))
            del store[key]

    def _count_difference(self, key: str, value: Any) -> None:
        if key in self._outdated:
            before, because = self._outdated.pop(key)
            if not _is_same(before, value):
                state_of(self.train_loop).quirks.met("Q33", f"{because} changed, and so does {key}, computed anew")


def _check_metric_class(metric_class: Any) -> None:
    if not callable(metric_class):
        raise InvalidTypeError(
            f"{metric_class!r} is a {type(metric_class).__name__}. Pass the class of a metric, such as AccuracyMetric:"
            " it is called with the targets and the predictions."
        )


def _identity_of(criterion: Any) -> Any:
    """Return what a criterion is told from another by, beside its digest: its class, if the digest holds all of it."""
    if not isinstance(criterion, nn.Module):
        return criterion
    if next(criterion.children(), None) is not None:
        return criterion
    of_any = vars(nn.Module())
    is_told_by_digest = all(
        key in _DIGESTED or (value == of_any[key] if key in of_any else _is_plain(key, value))
        for key, value in vars(criterion).items()
    )
    return type(criterion) if is_told_by_digest else criterion


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two results are equal, NaN for NaN; of what is unknown nobody can tell, and so it is not."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool | int | float | str | None) and one == other


def _digest(module: nn.Module) -> bytes:
    """Return a digest of all numbers that a module holds: tensors, and plain attributes of it and its parts.

    ``Tensor._version`` would cost nothing, but changes through ``.data`` leave no trace in it.
    """
    made = hashlib.blake2b()
    for name, part in module.named_modules():
        plain = {key: value for key, value in vars(part).items() if _is_plain(key, value)}
        made.update(f"{name} {plain!r}".encode())
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        made.update(f"{name} {tensor.dtype} {'' if is_lazy(tensor) else tuple(tensor.shape)}".encode())
        for content in _contents(tensor):
            made.update(content)
    return made.digest()


def _is_plain(key: str, value: Any) -> bool:
    # The loop itself switches `training`, and evaluates in `eval()` mode whatever it was.
    return key != "training" and isinstance(value, bool | int | float | str | None)


def _contents(tensor: torch.Tensor) -> Iterator[Any]:
    if is_lazy(tensor):
        return
    if tensor.layout is torch.strided and not tensor.is_quantized:
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    else:
        written = io.BytesIO()
        torch.save(tensor.detach().cpu(), written)
        yield written.getvalue()
