"""Result packages and metrics of the programs, the library's own and such as users write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.parity.backend import Backend
from tests.parity.observe import encode
from tests.parity.trace import Trace


class Told:
    """A package that logs what it is given."""

    # On the class, so that a deep copy of the package writes to the same log.
    trace: Trace
    y_true: Any
    y_predicted: Any
    hyperparameters: Any
    additional_results: Any

    def prepare_results_dict(self) -> dict[str, Any]:
        given = [encode(value) for value in (self.y_true, self.y_predicted)]
        self.trace.note("package", *given, encode(self.hyperparameters), encode(self.additional_results))
        gap = np.asarray(self.y_true, dtype=np.float64) - np.asarray(self.y_predicted, dtype=np.float64)
        return {"gap": float(np.abs(gap).mean()), "rows": len(gap)}

    def set_experiment_dir_path_for_additional_results(
        self, project_name: str, experiment_name: str, experiment_timestamp: str, local_model_result_folder_path: str
    ) -> None:
        told = (project_name, experiment_name, type(experiment_timestamp).__name__, local_model_result_folder_path)
        self.trace.note("package was told", *told)


class Nested(Told):
    """Gives a dict and a tensor for values."""

    def prepare_results_dict(self) -> dict[str, Any]:
        gap = super().prepare_results_dict()["gap"]
        return {"part/of": {"one": gap, "two": {"three": 2.0 * gap}}, "tensor": torch.tensor(gap)}


class Varying(Told):
    """Names its metrics anew each time."""

    count = 0

    def prepare_results_dict(self) -> dict[str, Any]:
        self.count += 1
        return {f"metric {self.count}": super().prepare_results_dict()["gap"]}


class Without(Told):
    """Has no metrics."""

    def prepare_results_dict(self) -> dict[str, Any]:
        super().prepare_results_dict()
        return {}


class Nothing(Told):
    """Forgets to return its metrics."""

    def prepare_results_dict(self) -> Any:
        super().prepare_results_dict()


def _own(part: type) -> Callable[[Backend, Trace], Any]:
    def build(api: Backend, trace: Trace) -> Any:
        cls = api.mixed(part, "AbstractResultPackage")
        cls.trace = trace
        return cls(pkg_name=part.__name__)

    return build


def _library(name: str, **arguments: Any) -> Callable[[Backend, Trace], Any]:
    def build(api: Backend, trace: Trace) -> Any:
        del trace
        return getattr(api, name)(**arguments)

    return build


def _general(api: Backend, trace: Trace) -> Any:
    del trace
    return api.GeneralResultPackage([build_metric(api, name) for name in METRICS])


def _as_lists(api: Backend, trace: Trace) -> Any:
    cls = api.mixed(Told, "AbstractResultPackage")
    cls.trace = trace
    return cls(pkg_name="as lists", np_array=False)


PACKAGES: dict[str, Callable[[Backend, Trace], Any]] = {
    "regression": _library("RegressionResultPackage"),
    "binary": _library("BinaryClassificationResultPackage"),
    "binary_strict": _library("BinaryClassificationResultPackage", positive_class_thresh=0.6),
    "classification": _library("ClassificationResultPackage"),
    "general": _general,
    "told": _own(Told),
    "told_tensors": _as_lists,
    "nested": _own(Nested),
    "varying": _own(Varying),
    "without": _own(Without),
    "nothing": _own(Nothing),
}


class Gap:
    """A metric as users write them."""

    y_true: Any
    y_predicted: Any

    def __init__(self, y_true: Any, y_predicted: Any) -> None:
        super().__init__(y_true, y_predicted, metric_name="gap")  # type: ignore[call-arg]  # the base comes later

    def calculate_metric(self) -> float:
        return float(np.abs(self.y_true - self.y_predicted).max())


METRICS: dict[str, Callable[[Backend], Any]] = {
    "squared": lambda api: api.MeanSquaredErrorMetric,
    "absolute": lambda api: api.MeanAbsoluteErrorMetric,
    "gap": lambda api: api.mixed(Gap, "AbstractBaseMetric"),
}


def build_package(api: Backend, trace: Trace, name: str, *, wants_loss: bool = False) -> Any:
    """A result package; ``wants_loss`` sets the attribute by which a package asks for the loss."""
    package = PACKAGES[name](api, trace)
    if wants_loss:
        package.requires_loss = True
    return package


def build_metric(api: Backend, name: str) -> Any:
    """The class of a metric."""
    return METRICS[name](api)
