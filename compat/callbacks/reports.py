"""Callbacks that print what the history holds, and that add to it what can be made of it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from compat._console import say
from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.evaluation import _check_frequency
from compat.exceptions import EmptyMetricError, InvalidArgumentError, InvalidTypeError, MissingMetricError

__all__ = ["MetricHistoryRename", "ModelPerformancePrintReport", "TrainHistoryFormatter"]


class ModelPerformancePrintReport(AbstractCallback):
    """Print the latest values of some metrics, at the end of epochs and of the training.

    At the end of the training a metric is looked for as ``train_end_<metric>`` first.

    Args:
        metrics: The names of the metrics.
        on_each_epoch: Print at the end of epochs too.
        report_frequency: Print at every n-th epoch only, the first included.
        strict_metric_reporting: Raise where the history does not hold a metric, instead of printing a line.
        list_tracked_metrics: Print the names of all metrics first.

    Raises:
        InvalidArgumentError: There are no metrics, or they are one string and the report is strict.
        InvalidTypeError: They have no length.
        ZeroArgumentError: ``report_frequency`` is zero.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        on_each_epoch: bool = True,
        report_frequency: int | None = None,
        strict_metric_reporting: bool = True,
        list_tracked_metrics: bool = False,
    ) -> None:
        """Check the arguments."""
        if not hasattr(metrics, "__len__"):
            raise InvalidTypeError(f"metrics={metrics!r} is a {type(metrics).__name__}. Pass a list of metric names.")
        if not len(metrics):
            raise InvalidArgumentError("metrics list is empty. Name at least one metric of the training history.")
        # Not strict, it prints a line for each letter.
        if strict_metric_reporting and isinstance(metrics, str) and len(metrics) > 1:
            raise InvalidArgumentError(f"metrics={metrics!r} is a str, whose letters are no metrics: [{metrics!r}].")
        if on_each_epoch:
            _check_frequency("report_frequency", report_frequency)
        super().__init__("Model performance print reporter", execution_order=97, device_idx_execution=0)
        self.metrics = metrics
        self.on_each_epoch = on_each_epoch
        self.report_frequency = report_frequency
        self.strict_metric_reporting = strict_metric_reporting
        self.list_tracked_metrics = list_tracked_metrics

    def on_epoch_end(self) -> None:
        """Print the report, if it is the turn of this epoch."""
        if not self.on_each_epoch:
            return
        if self.report_frequency is None or self.train_loop_obj.epoch % self.report_frequency == 0:
            say("------------------  End of epoch performance report  -------------------")
            self.print_performance_report()

    def on_train_end(self) -> None:
        """Print the report."""
        say("-----------------  End of training performance report  -----------------")
        self.print_performance_report(prefix="train_end_")

    def print_performance_report(self, prefix: str = "") -> None:
        """Print one line a metric.

        Args:
            prefix: What to look for in front of a metric's name, before looking for the name alone.

        Raises:
            InvalidArgumentError: The history does not hold a metric, and the report is strict.
            EmptyMetricError: It holds no value of it yet, and the report is strict.
        """
        if self.list_tracked_metrics:
            say(self.train_loop_obj.train_history.keys())
        for metric in self.metrics:
            self._tell(metric, prefix)

    def _tell(self, metric: str, prefix: str) -> None:
        history, state = self.train_loop_obj.train_history, state_of(self.train_loop_obj)
        name = f"{prefix}{metric}"
        if name not in history and metric in history:
            state.quirks.met("Q72", f"the report at the end of the training shows {metric!r}: there is no {name!r}")
            name = metric
        if name not in history:
            text = (
                f"Metric {name} expected for the report missing from TrainLoop.train_history. "
                f"Found only the following: {history.keys()}"
            )
            self._complain(InvalidArgumentError(f"{text}. Report one of these, or strict_metric_reporting=False."))
            say(text)
            return
        # With a MultiLoss there is nothing under the plain names of the losses; what stands there is their mean (Q47).
        values = history[name] or state.mean_losses.get(name, [])
        if values:
            say(f"{name}: {values[-1]}")
            return
        text = f"Metric {name} of the report has no value yet in TrainLoop.train_history"
        self._complain(EmptyMetricError(f"{text}. Losses are recorded when end_auto_eval is on."))
        say(text)

    def _complain(self, error: Exception) -> None:
        if self.strict_metric_reporting:
            raise error


class TrainHistoryFormatter(AbstractCallback):
    """Make a value of what the history holds, and put it into the history.

    It acts when the metric has a new value: at the end of an epoch, or of the training.

    Args:
        input_metric_getter: Returns the list of a metric's values, given the history.
        output_metric_setter: Returns a name and a value to record, given that list.
        epoch_end: Act at the end of epochs.
        train_end: Act at the end of the training.
        strict_metric_extract: Raise where the metric has no new value, instead of printing a line.

    Raises:
        InvalidArgumentError: Both ``epoch_end`` and ``train_end``, or none.
    """

    def __init__(
        self,
        input_metric_getter: Callable[[Any], Any],
        output_metric_setter: Callable[[Any], Any],
        epoch_end: bool = True,
        train_end: bool = False,
        strict_metric_extract: bool = True,
    ) -> None:
        """Check the arguments; nothing has been looked at."""
        if bool(epoch_end) == bool(train_end):
            raise InvalidArgumentError(
                "Only either epoch_end or train_end have to be set to True. "
                f"Have set epoch_end to {epoch_end} and train_end to {train_end}."
            )
        super().__init__("Train history general formatter engine")
        self.input_metric_getter = input_metric_getter
        self.output_metric_setter = output_metric_setter
        self.epoch_end = epoch_end
        self.train_end = train_end
        self.strict_metric_extract = strict_metric_extract
        self._start_looking({})

    def _start_looking(self, lengths: dict[str, int]) -> None:
        self._looked_at: tuple[int, int] | None = None
        # Of all metrics in the history, now and at the look before, which was at another moment.
        self._lengths = self._lengths_before = lengths
        self._found = self._found_before = 0
        self._is_late = self._feeds_itself = False

    def on_train_loop_registration(self) -> None:
        """Count the values that are there already, which are not new. Nobody asks ``input_metric_getter`` yet."""
        self._start_looking(self._history_lengths())

    def on_epoch_end(self) -> None:
        """Record a value, if the metric has a new one."""
        if self.epoch_end and self.check_if_history_updated(False):
            self.format_history()

    def on_train_end(self) -> None:
        """Record a value, if the metric has a new one."""
        if self.train_end and self.check_if_history_updated(True):
            self.format_history()

    def format_history(self) -> None:
        """Record a value.

        Raises:
            InvalidTypeError: ``output_metric_setter`` returned nothing that holds two values.
            InvalidArgumentError: It returned more or fewer than two.
        """
        loop = self.train_loop_obj
        values = self.input_metric_getter(loop.train_history)
        made = self.output_metric_setter(values)
        try:
            name, value = made
        except (TypeError, ValueError) as error:
            kind = InvalidTypeError if isinstance(error, TypeError) else InvalidArgumentError
            raise kind(f"output_metric_setter returned {made!r}. Return a pair: (metric name, value).") from error
        loop.insert_metric_result_into_history(name, value)
        # A value of its own is no new one, neither here nor at the next look.
        self._feeds_itself = self._feeds_itself or (name in loop.train_history and loop.train_history[name] is values)
        self._lengths = self._history_lengths()

    def check_if_history_updated(self, train_end_phase: bool) -> bool:
        """Tell whether the metric has a new value.

        Args:
            train_end_phase: Whether the training has ended; otherwise an epoch has.

        Returns:
            True if there are as many values as epochs, or one at the end of the training, or more than at the last
            look. An epoch that ``end_auto_eval`` leaves out has no new value.

        Raises:
            InvalidArgumentError: There is no new value where there should be, and the callback is strict.
            InvalidTypeError: ``input_metric_getter`` returned nothing that has a length.
        """
        is_first_look = self._looked_at is None
        found, expected = self._look(), 1 if train_end_phase else self.train_loop_obj.epoch + 1
        length = len(found)
        if length == expected:
            return True
        quirks = state_of(self.train_loop_obj).quirks
        is_corrected, is_new = quirks.fixed("Q76"), self._has_new_value(found)
        if is_corrected and is_new and not self._is_late:
            quirks.met("Q76", f"a metric with {length} values, where the old loop expects {expected}, was formatted")
            return True
        text = (
            "Metric found at path specified in input_metric_getter not yet updated. "
            f"Expecting {expected} history elements, but got {length} elements."
        )
        is_left_out = not train_end_phase and self._is_epoch_left_out()
        # Without a new value at the first look, the metric is recorded after this callback looks: from now on its list
        # grows from look to look as well, but by the value of the epoch before.
        self._is_late = self._is_late or (is_first_look and not is_new and not is_left_out)
        if not self.strict_metric_extract:
            say(text)
        elif is_corrected and is_left_out:
            quirks.met("Q76", f"epoch {self.train_loop_obj.epoch}, which end_auto_eval leaves out, was let pass")
        else:
            raise InvalidArgumentError(
                f"{text} Let what records the metric run before this callback, by a lower execution_order or an"
                " earlier place, or pass strict_metric_extract=False."
            )
        return False

    def _look(self) -> Any:
        """Get the values, and remember how many there were at the look before, which was at another moment."""
        found = self.input_metric_getter(self.train_loop_obj.train_history)
        if not hasattr(found, "__len__"):
            raise InvalidTypeError(
                f"input_metric_getter returned {found!r}, a {type(found).__name__}. Return the list of a metric's"
                " values."
            )
        now = (self.train_loop_obj.epoch, self.train_loop_obj.total_iteration_idx)
        if now != self._looked_at:
            self._looked_at, self._lengths_before, self._found_before = now, self._lengths, self._found
        self._lengths, self._found = self._history_lengths(), len(found)
        return found

    def _has_new_value(self, found: Any) -> bool:
        """Tell whether values have grown since the look before.

        A list of the history itself is told by that. Values that a function made of the history are new if they are
        more than before, and as many as those of a metric that has grown.
        """
        if self._feeds_itself:
            return False
        grown = {name for name, length in self._lengths.items() if length > self._lengths_before.get(name, 0)}
        history = self.train_loop_obj.train_history
        own = [name for name in history if history[name] is found]
        if own:
            return own[0] in grown
        return len(found) > self._found_before and any(self._lengths[name] == len(found) for name in grown)

    def _history_lengths(self) -> dict[str, int]:
        history = self.train_loop_obj.train_history
        return {name: len(history[name]) for name in history if hasattr(history[name], "__len__")}

    def _is_epoch_left_out(self) -> bool:
        every: Any = self.train_loop_obj.end_auto_eval
        return type(every) is int and every != 0 and self.train_loop_obj.epoch % every != 0


class MetricHistoryRename(TrainHistoryFormatter):
    """Copy each new value of a metric to another name; the metric itself stays.

    Args:
        input_metric_path: The name of the metric, or a function that returns its values, given the history.
        new_metric_name: The other name.
        epoch_end: Act at the end of epochs.
        train_end: Act at the end of the training.
        strict_metric_extract: Raise where the metric has no new value, instead of printing a line.

    Raises:
        InvalidArgumentError: As for every ``TrainHistoryFormatter``.
    """

    def __init__(
        self,
        input_metric_path: Any,
        new_metric_name: str,
        epoch_end: bool = True,
        train_end: bool = False,
        strict_metric_extract: bool = True,
    ) -> None:
        """Make the two functions."""
        # Partials of plain functions, where lambdas would do: a callback travels to other processes.
        super().__init__(
            input_metric_path if callable(input_metric_path) else partial(_values_of, input_metric_path),
            partial(_named_last, new_metric_name),
            epoch_end,
            train_end,
            strict_metric_extract,
        )


def _values_of(name: Any, history: Any) -> Any:
    if name not in history:
        raise MissingMetricError(
            f"The training history holds no metric {name!r}. It holds: {', '.join(map(str, history.keys()))}."
        )
    return history[name]


def _named_last(name: str, values: Any) -> tuple[str, Any]:
    return name, values[-1]
