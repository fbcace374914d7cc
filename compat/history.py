"""The record of losses and metrics that a training loop keeps, one value an epoch."""

from collections.abc import ItemsView, Iterator, KeysView
from copy import deepcopy
from typing import Any

from compat._console import say
from compat.exceptions import InvalidArgumentError, InvalidTypeError
from compat.quirks import met
from compat.utils import flatten_combine_dict

__all__ = ["TrainingHistory"]

_ONCE_A_FIT = "train_end_"
_EVERY_EPOCH = "accumulated_loss"


class _ContentCheck:
    """What a history and a result package say, or raise, of wrong content."""

    strict_content_check: bool

    def warn_about_result_data_problem(self, msg: str) -> None:
        """Print a line about the content, or raise it when the content check is strict.

        Args:
            msg: What is wrong.

        Raises:
            InvalidArgumentError: The content check is strict.
        """
        if self.strict_content_check:
            raise InvalidArgumentError(msg)
        say(msg)


class TrainingHistory(_ContentCheck):
    """Lists of values by metric name, grown by one value an epoch.

    Args:
        has_validation: Start with an (empty) record of the validation loss.
        strict_content_check: Raise where content looks wrong, instead of printing a line.

    Attributes:
        train_history: The lists by name. Owned by the history, handed out live.
        empty_train_history: What ``train_history`` looked like at the start, to tell whether anything was recorded.
    """

    def __init__(self, has_validation: bool = True, strict_content_check: bool = False) -> None:
        """Start with empty records of the losses."""
        names = ["loss", "accumulated_loss"] + (["val_loss"] if has_validation else [])
        self.train_history: dict[str, list[Any]] = {name: [] for name in names}
        self.strict_content_check = strict_content_check
        self.empty_train_history: dict[str, list[Any]] = {name: [] for name in names}

    def insert_single_result_into_history(self, metric_name: str, metric_result: Any) -> None:
        """Append one value to a metric's list, which is created if need be.

        Args:
            metric_name: The name of the metric.
            metric_result: The value.
        """
        self.train_history.setdefault(metric_name, []).append(metric_result)

    def get_train_history(self) -> dict[str, list[Any]]:
        """Return the live dictionary, not a copy."""
        return self.train_history

    def get_train_history_dict(self, flatten_dict: bool = False) -> dict[str, list[Any]]:
        """Return the lists by name.

        Args:
            flatten_dict: Spread metrics whose values are dictionaries over ``<metric>_<key>`` lists, level by level,
                and leave out metrics without a value.

        Returns:
            The live dictionary, or a flattened copy.

        Raises:
            InvalidArgumentError: Nothing was recorded, and the content check is strict. Otherwise a line is printed.
        """
        if self.train_history == self.empty_train_history:
            self.warn_about_result_data_problem("Train History dict is empty")
        return flatten_combine_dict(self.train_history) if flatten_dict else self.train_history

    def wrap_pre_prepared_history(self, history: dict[str, list[Any]]) -> "TrainingHistory":
        """Take over a dictionary of lists, by reference, in place of the recorded one.

        Args:
            history: Lists of values by metric name.

        Returns:
            This object.
        """
        self.train_history = history
        return self

    def qa_check_history_records(self) -> None:
        """Check that all metrics that grow by one value an epoch have equally many values.

        The number of epochs is taken from the accumulated training loss, which every epoch records, or else from the
        first metric with a value. Metrics without any value and those recorded once a fit (``train_end_...``) are left
        out.

        Raises:
            InvalidArgumentError: The lengths differ, and the content check is strict. Otherwise a line is printed for
                each metric that differs.
        """
        lengths = {
            name: len(values)
            for name, values in self.train_history.items()
            if len(values) and not name.startswith(_ONCE_A_FIT)
        }
        every_epoch = [length for name, length in lengths.items() if name.startswith(_EVERY_EPOCH)]
        epochs = next(iter([*every_epoch, *lengths.values()]), 0)
        wrong = [name for name, length in lengths.items() if length != epochs]
        if len(wrong) < len(self.train_history) and not (wrong and self.strict_content_check):
            met("Q114", f"{len(self.train_history) - len(wrong)} metrics are not reported")
        for name in wrong:
            self.warn_about_result_data_problem(
                f"Warning: Train history records not of the same size. Problem with: {name}"
            )

    def __str__(self) -> str:
        return str(self.train_history)

    def __len__(self) -> int:
        return len(self.train_history)

    def __getitem__(self, item: str) -> list[Any]:
        return self.train_history[item]

    def __setitem__(self, key: str, value: Any) -> None:
        # `history[name] = value` appends: programs written for the old library record their values this way (Q115).
        self.insert_single_result_into_history(key, value)

    def __contains__(self, item: object) -> bool:
        return item in self.train_history

    def __iter__(self) -> Iterator[str]:
        return iter(self.train_history)

    def keys(self) -> KeysView[str]:
        """Return the metric names."""
        return self.train_history.keys()

    def items(self) -> ItemsView[str, list[Any]]:
        """Return metric names with their lists."""
        return self.train_history.items()

    def __add__(self, other: dict[str, Any]) -> "TrainingHistory":
        total = deepcopy(self)
        total.add_history_dict(other)
        return total

    def __radd__(self, other: dict[str, Any]) -> "TrainingHistory":
        # Not by way of `+`, which a subclass may have made something else of.
        total = deepcopy(self)
        total.add_history_dict(other)
        return total

    def __iadd__(self, other: dict[str, Any]) -> "TrainingHistory":
        self.add_history_dict(other)
        return self

    def add_history_dict(self, other: dict[str, Any]) -> None:
        """Append each value of a dictionary to the list of its key, a list as one element.

        Args:
            other: One value by metric name.

        Raises:
            InvalidTypeError: Anything but a plain ``dict``.
        """
        if type(other) is not dict:
            raise InvalidTypeError(
                f"Other should be dict. Provided: {type(other)}. "
                "Only a plain dict of one value by metric name can be added to a TrainingHistory."
            )
        for name, value in other.items():
            self.insert_single_result_into_history(name, value)
