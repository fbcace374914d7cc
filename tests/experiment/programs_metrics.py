"""Programs with metrics, as users wrote them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from tests.experiment.programs import Api, Program, attempt, each, plain, program_list, table

WITH_METRICS: dict[str, Program] = {}
program = program_list(WITH_METRICS)


def metric(api: Api, result: Any, name: Any = "M", np_array: bool = True) -> Any:
    """A metric with a result."""

    class Metric(api.AbstractBaseMetric):  # type: ignore[misc]
        def calculate_metric(self) -> Any:
            return result

    return Metric([1], [2], name, np_array)


RESULTS: list[Any] = [1.5, 2, True, None, [1, 2], (1, 2), {"a": 1, "b": 2}, {"M": 5}, "ab", np.array([1, 2])]


@program
def _length_of_a_metric(api: Api) -> Any:
    return each(RESULTS, lambda result: len(metric(api, result)))


@program
def _text_of_a_metric(api: Api) -> Any:
    return each(RESULTS, lambda result: [str(metric(api, result)), str(metric(api, result, None))])


@program
def _look_up_in_a_metric(api: Api) -> Any:
    keys = ["M", "a", "z", 0]
    return table(keys, RESULTS, lambda key, result: [key in metric(api, result), metric(api, result)[key]])


@program
def _dict_of_a_metric(api: Api) -> Any:
    return each(RESULTS, lambda result: [metric(api, result).get_metric(), metric(api, result).get_metric_dict()])


@program
def _compare_metrics_with_numbers(api: Api) -> Any:
    numbers = [1.5, 2, 0.0, float("nan"), True, None, "s", [1]]
    return [
        each(numbers, lambda number: metric(api, 1.5) < number),
        each(numbers, lambda number: metric(api, 1.5) <= number),
        each(numbers, lambda number: metric(api, 1.5) > metric(api, number)),
        each(numbers, lambda number: metric(api, number) >= metric(api, 2)),
        each(numbers, lambda number: number < metric(api, 2)),
        each(numbers, lambda number: metric(api, 1)._get_metric_self_other_val(number)),
    ]


@program
def _add_metrics(api: Api) -> Any:
    a, b, c = metric(api, 1.0, "a"), metric(api, 2.0, "b"), metric(api, 3.0, "c")
    start: Any = {}
    parts = [b, {"z": 1}, {"a": 5}, None, 5, [b], OrderedDict(a=1), metric(api, 9.0, "a")]
    return [
        list((a + b + c).items()),
        list(sum([a, b, c], start).items()),
        attempt(lambda: sum([a, b])),
        each(parts, lambda part: list((a + part).items())),
        each(parts, lambda part: list((part + a).items())),
        each(parts, lambda part: list(a.concat_metric(part).items())),
    ]


@program
def _metric_with_and_without_arrays(api: Api) -> Any:
    return [plain(vars(metric(api, 1.0, "M", flag))) for flag in (True, False, "auto", None, 1, 0)]  # type: ignore[arg-type]


@program
def _metrics_keep_what_they_computed_from(api: Api) -> Any:
    y_true, scores = np.array([0, 1, 1]), np.array([0.2, 0.6, 0.9])
    names = ("AccuracyMetric", "ROCAUCMetric", "F1ScoreMetric", "RecallMetric", "MeanSquaredErrorMetric")
    kept = [plain(vars(getattr(api, name)(y_true, scores))) for name in names]
    return [kept, plain(vars(api.AccuracyMetric(np.eye(3), np.eye(3)))), plain([y_true, scores])]


@program
def _metrics_compute_again(api: Api) -> Any:
    accuracy, f1 = api.AccuracyMetric([0, 1], [0.1, 1.0], 0.8), api.F1ScoreMetric([0, 1], [0.1, 1.0], -1)
    return [accuracy.calculate_metric(), accuracy.calculate_metric(), f1.calculate_metric(), f1.metric_result]
