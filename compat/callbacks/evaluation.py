"""The callback that evaluates the model with a result package."""

from copy import deepcopy
from typing import Any

from compat._console import say
from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingAttributeError, ZeroArgumentError

__all__ = ["ModelPerformanceEvaluation"]

_EXPERIMENT = ("project_name", "experiment_name", "local_model_result_folder_path")


class ModelPerformanceEvaluation(AbstractCallback):
    """Compute the metrics of a result package, and put them into the history.

    The keys are ``train_<metric>`` and ``val_<metric>``. At the end of the training the metrics are computed whatever
    the other arguments say, and recorded under ``train_end_train_<metric>`` and ``train_end_val_<metric>``.

    Args:
        result_package: What computes the metrics.
        args: The hyperparameters that the package is given.
        on_each_epoch: Evaluate at the end of epochs.
        on_train_data: Evaluate on the training data, with a copy of the package.
        on_val_data: Evaluate on the validation data.
        eval_frequency: Evaluate at every n-th epoch only, the first included.
        if_available_output_to_project_dir: Tell the package the folder of the experiment, where the training loop
            knows one, for files that it writes.

    Attributes:
        result_package: The argument, which evaluates the validation data.
        train_result_package: The copy for the training data; only with ``on_train_data``.

    Raises:
        InvalidArgumentError: There are no data to evaluate on.
        ZeroArgumentError: ``eval_frequency`` is zero.
        MissingAttributeError: ``result_package`` is no result package.
        InvalidTypeError: It is the class of one that sets ``requires_loss`` for all its objects.
    """

    def __init__(
        self,
        result_package: Any,
        args: Any,
        on_each_epoch: bool = True,
        on_train_data: bool = False,
        on_val_data: bool = True,
        eval_frequency: int | None = None,
        if_available_output_to_project_dir: bool = True,
    ) -> None:
        """Check the arguments, and copy the package if there are training data to evaluate."""
        if not on_train_data and not on_val_data:
            raise InvalidArgumentError(
                "Both on_train_data and on_val_data are set to False. At least one of them has to be True."
            )
        if on_each_epoch:
            _check_frequency("eval_frequency", eval_frequency)
        _check_package(result_package, "requires_loss")
        super().__init__("Model performance calculator - evaluator")
        self.result_package = result_package
        self.args = args
        self.on_each_epoch = on_each_epoch
        self.on_train_data = on_train_data
        self.on_val_data = on_val_data
        self.eval_frequency = eval_frequency
        self.if_available_output_to_project_dir = if_available_output_to_project_dir
        if on_train_data:
            self.train_result_package = deepcopy(result_package)

    def on_train_loop_registration(self) -> None:
        """Tell the packages the folder of the experiment and the device.

        Raises:
            MissingAttributeError: The package has no ``requires_loss``.
        """
        loop = self.train_loop_obj
        for package in self._packages():
            if not hasattr(package, "requires_loss"):
                raise MissingAttributeError(
                    f"{type(package).__name__} has no attribute requires_loss. Its __init__ has to call"
                    " super().__init__(), or to set requires_loss itself."
                )
        if self.if_available_output_to_project_dir and all(hasattr(loop, name) for name in _EXPERIMENT):
            project, experiment, folder = (getattr(loop, name) for name in _EXPERIMENT)
            for package in self._packages():
                package.set_experiment_dir_path_for_additional_results(
                    project, experiment, loop.experiment_timestamp, folder
                )
            if self.on_train_data and _writes_files(self.train_result_package):
                state_of(loop).quirks.met("Q74", "the copy of the package for the training data was told the folder")

    def on_epoch_end(self) -> None:
        """Evaluate, if it is the turn of this epoch."""
        if self.on_each_epoch:
            if self.eval_frequency is None or self.train_loop_obj.epoch % self.eval_frequency == 0:
                self.evaluate_model_performance()
            else:
                say(
                    f"Skipping performance evaluation on this epoch ({self.train_loop_obj.epoch})."
                    f" Evaluating every {self.eval_frequency} epochs."
                )

    def on_train_end(self) -> None:
        """Evaluate, whatever the epochs did."""
        self.evaluate_model_performance(prefix="train_end_")

    def evaluate_model_performance(self, prefix: str = "") -> None:
        """Compute the metrics, and put them into the history; the packages hold them too.

        Args:
            prefix: What the metrics' names in the history start with.
        """
        loop = self.train_loop_obj
        if self.on_train_data:
            package = self.train_result_package
            self._prepare(package, "train")
            if package.requires_loss:
                state_of(loop).quirks.met("Q36", "the package got the loss on the training data as a plain number")
        if self.on_val_data:
            self._prepare(self.result_package, "validation")
        self.store_evaluated_metrics_to_history(prefix=prefix)

    def _prepare(self, package: Any, data: str) -> None:
        loop = self.train_loop_obj
        state = state_of(loop)
        with state.reading_with_loss(package.requires_loss):
            y_pred, y_true, metadata = getattr(loop, f"predict_on_{data}_set")()
        if package.requires_loss:
            # A dict of its own: the predictions are stored, and the next reader wants the model's own metadata.
            state.metadata_without_loss[data] = metadata
            metadata = {**metadata, "loss": getattr(loop, f"evaluate_loss_on_{data}_set")(float_dict_format=True)}
        package.prepare_result_package(y_true, y_pred, hyperparameters=self.args, additional_results=metadata)

    def store_evaluated_metrics_to_history(self, prefix: str = "") -> None:
        """Put the metrics that the packages hold into the history.

        Args:
            prefix: What the names start with.

        Raises:
            MissingAttributeError: The package computed no metrics.
        """
        sources = {"train_": self.train_result_package} if self.on_train_data else {}
        if self.on_val_data:
            sources["val_"] = self.result_package
        # The validation package names the metrics where there are both; of each the training value comes first. Asked
        # for the results of each metric anew, as in the old library: an override may answer anew.
        for name in _metric_names(sources["val_" if self.on_val_data else "train_"]):
            for data, package in sources.items():
                value = package.get_results()[name]
                self.train_loop_obj.insert_metric_result_into_history(f"{prefix}{data}{name}", value)

    def _packages(self) -> list[Any]:
        validation = [self.result_package] if self.on_val_data else []
        return [*validation, self.train_result_package] if self.on_train_data else validation


def _check_frequency(name: str, frequency: Any) -> None:
    """Refuse a number of epochs that an epoch's index cannot be divided by.

    Args:
        name: The argument.
        frequency: Its value; ``None`` stands for every epoch.

    Raises:
        ZeroArgumentError: It is zero.
        InvalidTypeError: It is no number.
    """
    if frequency is None:
        return
    if not isinstance(frequency, int | float):
        raise InvalidTypeError(
            f"{name}={frequency!r} is a {type(frequency).__name__}. Pass a whole number of epochs, or None for each."
        )
    if frequency == 0:
        raise ZeroArgumentError(
            f"{name}=0: no epoch is every 0th one. Pass 1 or more, or on_each_epoch=False for the end of the training"
            " alone."
        )


def _check_package(package: Any, *looked_at: str) -> None:
    """Refuse what is no result package.

    Args:
        package: What was passed.
        looked_at: Attributes that the old library looks at before it calls a method of the package.

    Raises:
        InvalidTypeError: It is a class whose methods cannot be called for want of an object.
        MissingAttributeError: It is a class without such an attribute, or an object without the methods of a package.
    """
    if isinstance(package, type):
        wanted = (*looked_at, "prepare_result_package")
        kind = InvalidTypeError if all(hasattr(package, name) for name in wanted) else MissingAttributeError
        raise kind(f"result_package is the class {package.__name__}. Pass an object of it: {package.__name__}().")
    missing = [name for name in ("prepare_result_package", "get_results") if not hasattr(package, name)]
    if missing:
        raise MissingAttributeError(
            f"result_package={package!r} is a {type(package).__name__} without {' and '.join(missing)}. Pass a result"
            " package, such as an object of a subclass of AbstractResultPackage."
        )


def _metric_names(package: Any) -> list[Any]:
    results = package.get_results()
    if not hasattr(results, "keys"):
        raise MissingAttributeError(
            f"{type(package).__name__}.prepare_results_dict returned a {type(results).__name__}, which has no keys."
            " Return a dict of one value by metric name."
        )
    return list(results.keys())


def _writes_files(package: Any) -> bool:
    """Tell whether a package does anything with the folder of the experiment."""
    from compat.experiment.packages import AbstractResultPackage

    told = getattr(type(package), "set_experiment_dir_path_for_additional_results", None)
    return told is not AbstractResultPackage.set_experiment_dir_path_for_additional_results
