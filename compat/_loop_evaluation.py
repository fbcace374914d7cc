"""What a training loop evaluates and predicts: passes over a loader, their averages, and what is stored of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from compat import _evaluation
from compat._amp import autocast
from compat._evaluation import Predictions
from compat._loop_state import LoopState
from compat.exceptions import EmptyLoaderError
from compat.losses import MultiLoss

__all__ = ["LoopEvaluation"]


class LoopEvaluation(LoopState):
    """The evaluating half of ``TrainLoop``: everything here runs in ``eval()`` mode and without gradients."""

    def evaluate_loss_on_train_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the training set; see :meth:`evaluate_loss_on_validation_set`."""
        return self._stored_loss("train", self.train_loader, force_prediction, float_dict_format)

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
        return self._stored_loss("validation", self.validation_loader, force_prediction, float_dict_format)

    def evaluate_loss_on_test_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the test set; see :meth:`evaluate_loss_on_validation_set`."""
        return self._stored_loss("test", self.test_loader, force_prediction, float_dict_format)

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
        _evaluation.check_loader(data_loader, f"evaluate the loss{_shown_type(dataset_info)}")
        self._to_device()
        with _evaluation.evaluating(self.model):
            losses, samples = _evaluation.loss_pass(
                self._evaluated_batch_loss,
                data_loader,
                autocast(self.use_amp, self.device),
                f"Loss evaluation{_shown_type(dataset_info)}",
            )
            loss = self.parse_loss(self._averaged_over(losses, samples))
        return _evaluation.to_cpu(loss) if move_to_cpu else loss

    def predict_on_train_set(self, force_prediction: bool = False, execute_callbacks: bool = False) -> Predictions:
        """Predict the training set; see :meth:`predict_on_validation_set`."""
        return self._stored_predictions("train", self.train_loader, force_prediction, execute_callbacks)

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
        return self._stored_predictions("validation", self.validation_loader, force_prediction, execute_callbacks)

    def predict_on_test_set(self, force_prediction: bool = False, execute_callbacks: bool = False) -> Predictions:
        """Predict the test set; see :meth:`predict_on_validation_set`."""
        return self._stored_predictions("test", self.test_loader, force_prediction, execute_callbacks)

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
        _evaluation.check_loader(data_loader, f"predict{_shown_type(dataset_info)}")
        self.model = self.model.to(self.device)
        tell = self.callbacks_handler.execute_after_batch_prediction
        with _evaluation.evaluating(self.model):
            results = _evaluation.prediction_pass(
                self._batch_predictions,
                data_loader,
                autocast(self.use_amp, self.device),
                f"Making predictions{_shown_type(dataset_info)}",
                self.collate_batch_pred_fn,
                self.pred_transform_fn,
                (lambda y_pred, y_true, metadata: tell(y_pred, y_true, metadata, dataset_info))
                if execute_callbacks
                else None,
                lambda reason: self.quirks.warn("Q40", reason),
            )
        return _evaluation.to_cpu(results) if move_to_cpu else results

    def parse_loss(self, loss_record: Sequence[Any]) -> Any:
        """Average the losses of batches, in float64.

        Args:
            loss_record: One loss a batch: scalar tensors, or ``MultiLoss``.

        Returns:
            A 0-dim tensor, or a ``MultiLoss`` of such.

        Raises:
            EmptyLoaderError: There is no loss to average.
        """
        if not len(loss_record):
            raise EmptyLoaderError("No batch gave a loss to average. The loader must hold at least one batch.")
        if not isinstance(loss_record[0], MultiLoss):
            return torch.stack(list(loss_record)).double().mean(dim=0)
        names = list(loss_record[0].keys())
        means = [torch.stack([losses[name] for losses in loss_record]).double().mean(dim=0) for name in names]
        # The history lists the names in their sorted order; so did the old loop, but it gave them others' values.
        paired = (
            zip(sorted(names), means, strict=True)
            if not self.quirks.fixed("Q41")
            else sorted(zip(names, means, strict=True), key=lambda entry: str(entry[0]))
        )
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

    def _stored_loss(self, data: str, loader: Any, force: bool, as_float: bool) -> Any:
        def evaluate() -> Any:
            return self.evaluate_model_loss(loader, move_to_cpu=True, dataset_info={"type": data})

        loss = self._stored(f"{_STORED[data]}_loss", force, evaluate)
        return self.convert_loss_to_float_dict_format(loss) if as_float else loss

    def _stored_predictions(self, data: str, loader: Any, force: bool, execute_callbacks: bool) -> Predictions:
        def predict() -> Any:
            return self.predict_with_model(loader, execute_callbacks, move_to_cpu=True, dataset_info={"type": data})

        predictions: Predictions = self._stored(f"{_STORED[data]}_pred", force, predict)
        return predictions

    def _stored(self, key: str, force: bool, compute: Callable[[], Any]) -> Any:
        store, index = self.prediction_store, self.total_iteration_idx
        if not force and store._has_data(key, index):
            return store._get_data(key, index)
        result = compute()
        store._insert_data(key, result, index, force)
        return result

    def _evaluated_batch_loss(self, batch: Any) -> Any:
        if self.batch_model_feed_def is None:
            return self.model.get_loss_eval(batch, self.criterion, self.device)
        return self.batch_model_feed_def.get_loss_eval(self.model, batch, self.criterion, self.device)

    def _batch_predictions(self, batch: Any) -> Any:
        if self.batch_model_feed_def is None:
            return self.model.get_predictions(batch, self.device)
        return self.batch_model_feed_def.get_predictions(self.model, batch, self.device)


_STORED = {"train": "train", "validation": "val", "test": "test"}


def _shown_type(dataset_info: Any) -> str:
    return f" on {dataset_info['type']}" if isinstance(dataset_info, dict) and "type" in dataset_info else ""
