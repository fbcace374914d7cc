"""The cache of predictions and losses: what was computed at an iteration is not computed twice."""

from typing import Any

from compat._console import say
from compat.exceptions import InvalidArgumentError
from compat.quirks import QuirkSettings

__all__ = ["ModelPredictionStore"]

_ITERATION = "iteration_idx"


class ModelPredictionStore:
    """Predictions and losses of one iteration, by data set.

    One keyed store: :meth:`_insert_data`, :meth:`_get_data` and :meth:`_has_data` do the work, the named methods say
    under which key.

    Args:
        auto_purge: Empty the store when something of another iteration is inserted. Without it the store belongs to
            iteration -1 for good.

    Attributes:
        do_auto_purge: The argument.
        prediction_store: What is stored, with the iteration it belongs to under ``iteration_idx``. Owned by the store.
        quirks: The switches to go by. A training loop puts its own here.
    """

    def __init__(self, auto_purge: bool = False) -> None:
        """Start empty, at the iteration before the first."""
        self.do_auto_purge = auto_purge
        self.prediction_store: dict[str, Any] = {_ITERATION: -1}
        self.quirks = QuirkSettings()
        # For quirk Q34: the newest iteration so far, and what has been stored for earlier ones since.
        self._newest = -1
        self._out_of_turn: set[str] = set()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled; the old library's pickles have no switches."""
        newest = state.get("prediction_store", {}).get(_ITERATION, -1)
        vars(self).update({"quirks": QuirkSettings(), "_newest": newest, "_out_of_turn": set()} | state)

    def insert_train_predictions(self, predictions: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store predictions of the training set."""
        self._insert_data("train_pred", predictions, iteration_idx, force_prediction)

    def insert_val_predictions(self, predictions: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store predictions of the validation set."""
        self._insert_data("val_pred", predictions, iteration_idx, force_prediction)

    def insert_test_predictions(self, predictions: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store predictions of the test set."""
        self._insert_data("test_pred", predictions, iteration_idx, force_prediction)

    def get_train_predictions(self, iteration_idx: int) -> Any:
        """Return the stored predictions of the training set."""
        return self._get_data("train_pred", iteration_idx)

    def get_val_predictions(self, iteration_idx: int) -> Any:
        """Return the stored predictions of the validation set."""
        return self._get_data("val_pred", iteration_idx)

    def get_test_predictions(self, iteration_idx: int) -> Any:
        """Return the stored predictions of the test set."""
        return self._get_data("test_pred", iteration_idx)

    def has_train_predictions(self, iteration_idx: int) -> bool:
        """Tell whether predictions of the training set are stored for this iteration."""
        return self._has_data("train_pred", iteration_idx)

    def has_val_predictions(self, iteration_idx: int) -> bool:
        """Tell whether predictions of the validation set are stored for this iteration."""
        return self._has_data("val_pred", iteration_idx)

    def has_test_predictions(self, iteration_idx: int) -> bool:
        """Tell whether predictions of the test set are stored for this iteration."""
        return self._has_data("test_pred", iteration_idx)

    def insert_train_loss(self, loss: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store the loss over the training set."""
        self._insert_data("train_loss", loss, iteration_idx, force_prediction)

    def insert_val_loss(self, loss: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store the loss over the validation set."""
        self._insert_data("val_loss", loss, iteration_idx, force_prediction)

    def insert_test_loss(self, loss: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store the loss over the test set."""
        self._insert_data("test_loss", loss, iteration_idx, force_prediction)

    def get_train_loss(self, iteration_idx: int) -> Any:
        """Return the stored loss over the training set."""
        return self._get_data("train_loss", iteration_idx)

    def get_val_loss(self, iteration_idx: int) -> Any:
        """Return the stored loss over the validation set."""
        return self._get_data("val_loss", iteration_idx)

    def get_test_loss(self, iteration_idx: int) -> Any:
        """Return the stored loss over the test set."""
        return self._get_data("test_loss", iteration_idx)

    def has_train_loss(self, iteration_idx: int) -> bool:
        """Tell whether a loss over the training set is stored for this iteration."""
        return self._has_data("train_loss", iteration_idx)

    def has_val_loss(self, iteration_idx: int) -> bool:
        """Tell whether a loss over the validation set is stored for this iteration."""
        return self._has_data("val_loss", iteration_idx)

    def has_test_loss(self, iteration_idx: int) -> bool:
        """Tell whether a loss over the test set is stored for this iteration."""
        return self._has_data("test_loss", iteration_idx)

    def _insert_data(self, source_name: str, data: Any, iteration_idx: int, force_prediction: bool = False) -> None:
        """Store something of an iteration.

        Args:
            source_name: The key.
            data: What to store; the same object is given back.
            iteration_idx: The iteration it was computed at.
            force_prediction: Replace what is there.

        Raises:
            InvalidArgumentError: The key is taken for this iteration, and replacing was not asked for.
        """
        self.auto_purge(iteration_idx)
        if not force_prediction and self._has_data(source_name, iteration_idx):
            raise InvalidArgumentError(
                f"The store holds {source_name!r} of iteration index {iteration_idx} already. "
                "Pass force_prediction=True to replace it."
            )
        self.prediction_store[source_name] = data
        self._note_turn(source_name, iteration_idx)

    def _get_data(self, source_name: str, iteration_idx: int) -> Any:
        """Return what was stored at an iteration.

        Raises:
            InvalidArgumentError: Nothing is stored under the key for this iteration.
        """
        if not self._has_data(source_name, iteration_idx):
            stored = sorted(self.prediction_store.keys() - {_ITERATION})
            raise InvalidArgumentError(
                f"The store holds no {source_name!r} of iteration index {iteration_idx}. It holds "
                f"{', '.join(stored) or 'nothing'}, of iteration index {self.prediction_store[_ITERATION]}. "
                "Ask the has_... method before, or compute it anew."
            )
        say(f"Getting {source_name} predictions/loss from store")
        return self.prediction_store[source_name]

    def _has_data(self, source_name: str, iteration_idx: int) -> bool:
        has = source_name in self.prediction_store and self.prediction_store[_ITERATION] == iteration_idx
        if self._out_of_turn and iteration_idx == self._newest and source_name in self._out_of_turn:
            # The old store would serve it, and so does this one where that is kept.
            self._out_of_turn.discard(source_name)
            if has != self.quirks.fixed("Q34"):
                self.quirks.met("Q34", f"{source_name} was stored for an earlier iteration than {iteration_idx}")
        return has

    def _note_turn(self, source_name: str, iteration_idx: int) -> None:
        if not self.do_auto_purge:
            return
        if iteration_idx > self._newest:
            self._newest, self._out_of_turn = iteration_idx, set()
        elif iteration_idx < self._newest:
            self._out_of_turn.add(source_name)
        else:
            self._out_of_turn.discard(source_name)

    def _forget(self, data: str) -> None:
        """Forget the predictions and the loss of one data set: ``train``, ``val`` or ``test``."""
        for key in (f"{data}_pred", f"{data}_loss"):
            self.prediction_store.pop(key, None)
            self._out_of_turn.discard(key)

    def auto_purge(self, iteration_idx: int) -> None:
        """Empty the store if it belongs to another iteration than this one, and hand it to this one.

        Args:
            iteration_idx: The iteration at hand.
        """
        if not self.do_auto_purge:
            return
        stored_at = self.prediction_store[_ITERATION]
        # Q34: the loop's counter can be lowered by hand, and what is stored then belongs to another iteration as well.
        if iteration_idx > stored_at or (iteration_idx < stored_at and self.quirks.fixed("Q34")):
            say(f"Auto purging prediction store at iteration {iteration_idx + 1}")
            self.prediction_store = {_ITERATION: iteration_idx}
