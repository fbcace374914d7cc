"""What a training loop evaluates and predicts: passes over a loader, their averages, and what is stored of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from compat import _collection, _evaluation, _ledger
from compat._amp import autocast, readable
from compat._distributed import together
from compat._evaluation import Predictions
from compat._loop_state import LoopState
from compat.callbacks.handler import CallbacksHandler
from compat.exceptions import EmptyLoaderError, LossError
from compat.losses import MultiLoss
from compat.predictions import ModelPredictionStore

__all__ = ["LoopEvaluation"]


class LoopEvaluation:
    """The evaluating half of ``TrainLoop``: everything here runs in ``eval()`` mode and without gradients."""

    # What TrainLoop's constructor sets.
    _compat: LoopState
    model: Any
    batch_model_feed_def: Any
    train_loader: Any
    validation_loader: Any
    test_loader: Any
    criterion: Any
    collate_batch_pred_fn: Callable[[Any, Any], Any]
    pred_transform_fn: Callable[[Any], Any]
    use_amp: bool
    device: torch.device
    total_iteration_idx: int
    prediction_store: ModelPredictionStore
    callbacks_handler: CallbacksHandler

    def evaluate_loss_on_train_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the training set; see :meth:`evaluate_loss_on_validation_set`."""
        return _stored_loss(self, "train", self.train_loader, force_prediction, float_dict_format)

    def evaluate_loss_on_validation_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the validation set, once for each training iteration.

        Args:
            force_prediction: Evaluate again although the loss of this iteration is stored.
            float_dict_format: Return a float, or a dict of floats for a ``MultiLoss``.

        Returns:
            A 0-dim float64 tensor on the CPU, or a ``MultiLoss`` of such.

        Raises:
            InvalidTypeError: There is no such loader.
            EmptyLoaderError: The loader holds no batch.
        """
        return _stored_loss(self, "validation", self.validation_loader, force_prediction, float_dict_format)

    def evaluate_loss_on_test_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the test set; see :meth:`evaluate_loss_on_validation_set`."""
        return _stored_loss(self, "test", self.test_loader, force_prediction, float_dict_format)

    def evaluate_model_loss(self, data_loader: Any, move_to_cpu: bool = False, dataset_info: Any = None) -> Any:
        """Evaluate the loss on a loader. The model is in ``train()`` mode afterwards.

        Args:
            data_loader: The batches.
            move_to_cpu: Whether to move the loss to the CPU.
            dataset_info: A dict with a ``type`` to be shown with the progress bar.

        Returns:
            A 0-dim float64 tensor, or a ``MultiLoss`` of such.

        Raises:
            InvalidTypeError: There is no loader.
            EmptyLoaderError: The loader holds no batch.
        """
        _note_use(self, "evaluate_model_loss")
        _evaluation.to_device(self)
        self._compat.loader_used(data_loader)
        with _evaluation.evaluating(self.model, self._compat.quirks):
            _evaluation.check_loader(data_loader, f"evaluate the loss{_shown_type(dataset_info)}")
            losses, samples = _losses(self, data_loader, dataset_info)
            weighted = self._compat.quirks.fixed("Q19")
            with self._compat.gathered():
                loss = self.parse_loss(_evaluation.weighted_by_samples(losses, samples) if weighted else losses)
            if _evaluation.means_differ(losses, samples):
                self._compat.quirks.met("Q19")
        return _evaluation.to_cpu(loss) if move_to_cpu else loss

    def predict_on_train_set(self, force_prediction: bool = False, execute_callbacks: bool = False) -> Predictions:
        """Predict the training set; see :meth:`predict_on_validation_set`."""
        return _stored_predictions(self, "train", self.train_loader, force_prediction, execute_callbacks)

    def predict_on_validation_set(self, force_prediction: bool = False, execute_callbacks: bool = False) -> Predictions:
        """Predict the validation set, once for each training iteration.

        Args:
            force_prediction: Predict again although the predictions of this iteration are stored.
            execute_callbacks: Whether to run the callbacks' ``on_after_batch_prediction``.

        Returns:
            Predictions ``(N, ...)``, targets ``(N, ...)`` and metadata, tensors on the CPU.

        Raises:
            InvalidTypeError: There is no such loader.
            EmptyLoaderError: The loader holds no batch.
        """
        return _stored_predictions(self, "validation", self.validation_loader, force_prediction, execute_callbacks)

    def predict_on_test_set(self, force_prediction: bool = False, execute_callbacks: bool = False) -> Predictions:
        """Predict the test set; see :meth:`predict_on_validation_set`."""
        return _stored_predictions(self, "test", self.test_loader, force_prediction, execute_callbacks)

    def predict_with_model(
        self, data_loader: Any, execute_callbacks: bool = False, move_to_cpu: bool = False, dataset_info: Any = None
    ) -> Predictions:
        """Predict a loader. The model is in ``train()`` mode afterwards.

        Args:
            data_loader: The batches.
            execute_callbacks: Whether to run the callbacks' ``on_after_batch_prediction``.
            move_to_cpu: Whether to move tensors to the CPU.
            dataset_info: A dict with a ``type`` to be shown with the progress bar.

        Returns:
            Predictions ``(N, ...)``, targets ``(N, ...)`` and metadata.

        Raises:
            InvalidTypeError: There is no loader.
            EmptyLoaderError: The loader holds no batch.
            InvalidArgumentError: ``get_predictions`` did not return three values.
        """
        _note_use(self, "predict_with_model")
        _evaluation.to_device(self, with_criterion=False)
        self._compat.loader_used(data_loader)
        with _evaluation.evaluating(self.model, self._compat.quirks):
            _evaluation.check_loader(data_loader, f"predict{_shown_type(dataset_info)}")
            results = _predictions(self, data_loader, execute_callbacks, move_to_cpu, dataset_info)
        return _on_cpu(self, results) if move_to_cpu else results

    def parse_loss(self, loss_record: Sequence[Any]) -> Any:
        """Average the losses of batches, in float64; in a fit of several processes those of all of them.

        Args:
            loss_record: One loss a batch: scalar tensors, or ``MultiLoss``.

        Returns:
            A 0-dim tensor, or a ``MultiLoss`` of such.

        Raises:
            EmptyLoaderError: There is no loss to average.
        """
        loss_record, _ = together.gathered(self, list(loss_record), None)
        if not len(loss_record):
            raise EmptyLoaderError("No batch gave a loss to average. The loader must hold at least one batch.")
        if not isinstance(loss_record[0], MultiLoss):
            return torch.stack(list(loss_record)).double().mean(dim=0)
        names = list(loss_record[0].keys())
        for number, losses in enumerate(loss_record):
            if losses.keys() != loss_record[0].keys():
                raise LossError(
                    f"get_loss returned the losses {list(losses)} for batch {number} and {names} for batch 0. Return"
                    " the same losses for every batch."
                )
        means = [torch.stack([losses[name] for losses in loss_record]).double().mean(dim=0) for name in names]
        # The history lists the names in their sorted order; so did the old loop, but it gave them others' values.
        paired = (
            zip(sorted(names), means, strict=True)
            if not self._compat.quirks.fixed("Q41")
            else sorted(zip(names, means, strict=True), key=lambda entry: str(entry[0]))
        )
        if names != _sorted(names):
            self._compat.quirks.met("Q41", f"get_loss returns the losses {names}")
        return MultiLoss(dict(paired))

    @staticmethod
    def convert_loss_to_float_dict_format(loss: Any) -> Any:
        """Turn an evaluated loss into plain numbers.

        Args:
            loss: A 0-dim tensor, or a ``MultiLoss`` of such.

        Returns:
            A float, or a dict of floats.
        """
        value = loss.item()
        return dict(value.get_loss_dict()) if isinstance(value, MultiLoss) else value


def _losses(loop: LoopEvaluation, loader: Any, dataset_info: Any) -> tuple[list[Any], list[int]]:
    """Compute the losses of all batches, and count their samples."""
    with together.evaluation(loop, loader, _call("evaluate_model_loss", "evaluate_loss", dataset_info)) as part:
        pairs = _evaluation.loss_pass(
            lambda batch: _evaluated_batch_loss(loop, batch),
            part.batches,
            autocast(loop.use_amp, loop.device, loop._compat.autocast_dtype),
            _bar(loop, f"Loss evaluation{_shown_type(dataset_info)}"),
        )
        everyone = list(part.everyone(pairs))
    losses = [loss if part.is_alone else together.on_device(loss, loop.device) for loss, _ in everyone]
    return losses, [samples for _, samples in everyone]


def _predictions(
    loop: LoopEvaluation, loader: Any, execute_callbacks: bool, move_to_cpu: bool, dataset_info: Any
) -> Predictions:
    """Predict all batches, and put them together."""
    tell = loop.callbacks_handler.execute_after_batch_prediction
    with together.evaluation(loop, loader, _call("predict_with_model", "predict", dataset_info)) as part:
        outputs = _evaluation.prediction_pass(
            lambda batch: _batch_predictions(loop, batch),
            part.batches,
            autocast(loop.use_amp, loop.device, loop._compat.autocast_dtype),
            _bar(loop, f"Making predictions{_shown_type(dataset_info)}"),
            (lambda y_pred, y_true, metadata: tell(y_pred, y_true, metadata, dataset_info))
            if execute_callbacks
            else None,
        )
        # On the CPU the device's memory does not grow with the data set, and other processes can be told.
        moved = _collection.Moved(not part.is_alone or (move_to_cpu and _only_puts_together(loop)))
        results = _collection.collected(
            moved.back(part.everyone(moved.away(outputs))),
            loop.collate_batch_pred_fn,
            loop.pred_transform_fn,
            lambda reason: loop._compat.quirks.met("Q40", reason),
            _collection.rows_of(part.whole),
        )
    return results if move_to_cpu else moved.restored(results, loop.device)


def _only_puts_together(loop: LoopEvaluation) -> bool:
    """Tell whether predictions are only collected: what else a function does to them may depend on their device."""
    functions = (loop.collate_batch_pred_fn, loop.pred_transform_fn)
    return all(getattr(function, "__module__", "") == "compat.data" for function in functions)


def _call(general: str, stored: str, dataset_info: Any) -> str:
    """Name the call that an evaluation is for, as the user may have made it."""
    data = dataset_info.get("type") if isinstance(dataset_info, dict) else None
    if data in _STORED:
        return f"{stored}_on_{data}_set()"
    return f"{general}()"


def _evaluated_batch_loss(loop: LoopEvaluation, batch: Any) -> Any:
    if loop.batch_model_feed_def is None:
        loss = loop.model.get_loss_eval(batch, loop.criterion, loop.device)
    else:
        loss = loop.batch_model_feed_def.get_loss_eval(loop.model, batch, loop.criterion, loop.device)
    return _evaluation.checked_loss(loss, loop.batch_model_feed_def or loop.model)


def _batch_predictions(loop: LoopEvaluation, batch: Any) -> Any:
    if loop.batch_model_feed_def is None:
        output = loop.model.get_predictions(batch, loop.device)
    else:
        output = loop.batch_model_feed_def.get_predictions(loop.model, batch, loop.device)
    return output if loop._compat.autocast_dtype is None else readable(output)


def _sorted(names: list[Any]) -> list[Any]:
    try:
        return sorted(names)
    except TypeError:
        return sorted(names, key=str)


def _note_use(loop: LoopEvaluation, method: str) -> None:
    """Note that the program called a method itself: a fit evaluates too, and so does what stores the result."""
    if loop._compat.after_fit is None and not loop._compat.storing:
        _ledger.used(f"compat.train_loop.TrainLoop.{method}")


def _on_cpu(loop: LoopEvaluation, results: Predictions) -> Predictions:
    """Move predictions, targets and metadata to the CPU; those that are no tensors are there (Q37)."""
    if not all(hasattr(values, "cpu") for values in results[:2]):
        loop._compat.quirks.met("Q37")
    y_pred, y_true, metadata = map(_evaluation.to_cpu, results)
    return y_pred, y_true, metadata


_STORED = {"train": "train", "validation": "val", "test": "test"}


def _stored_loss(loop: LoopEvaluation, data: str, loader: Any, force: bool, as_float: bool) -> Any:
    _note_use(loop, f"evaluate_loss_on_{data}_set")
    loop._compat.loader_used(loader)

    def evaluate() -> Any:
        return loop.evaluate_model_loss(loader, move_to_cpu=True, dataset_info={"type": data})

    loss = _stored(loop, f"{_STORED[data]}_loss", force, evaluate)
    return loop.convert_loss_to_float_dict_format(loss) if as_float else loss


def _stored_predictions(
    loop: LoopEvaluation, data: str, loader: Any, force: bool, execute_callbacks: bool
) -> Predictions:
    _note_use(loop, f"predict_on_{data}_set")
    loop._compat.loader_used(loader)

    def predict() -> Any:
        # By position, as in the old library: an override may name it otherwise.
        return loop.predict_with_model(loader, execute_callbacks, move_to_cpu=True, dataset_info={"type": data})

    what = f"{_STORED[data]}_predictions"
    waiting = loop.callbacks_handler.cbs_on_after_batch_prediction if execute_callbacks and not force else []
    if waiting and getattr(loop.prediction_store, f"has_{what}")(loop.total_iteration_idx):
        loop._compat.quirks.met("Q39", f"the predictions of the {data} set are stored already, and no hook runs")
    predictions: Predictions = _stored(loop, what, force, predict)
    loop._compat.predictions_read(data, predictions)
    return predictions


def _stored(loop: LoopEvaluation, what: str, force: bool, compute: Callable[[], Any]) -> Any:
    store, index = loop.prediction_store, loop.total_iteration_idx
    if not force and getattr(store, f"has_{what}")(index):
        return getattr(store, f"get_{what}")(index)
    ranks = loop._compat.ranks
    if ranks is not None and ranks.alone:
        # The other processes would look for it in vain, and so make it while this one does not.
        return compute()
    outer, loop._compat.storing = loop._compat.storing, True
    try:
        result = compute()
    finally:
        loop._compat.storing = outer
    getattr(store, f"insert_{what}")(result, index, force)
    return result


def _bar(loop: Any, description: str) -> str | None:
    return description if loop.is_main_process() else None


def _shown_type(dataset_info: Any) -> str:
    return f" on {dataset_info['type']}" if isinstance(dataset_info, dict) and "type" in dataset_info else ""
