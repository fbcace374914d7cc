"""Callbacks that print the history, and that add to it what can be made of it."""

import pickle
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from compat import (
    AbstractCallback,
    MetricHistoryRename,
    ModelPerformancePrintReport,
    MultiOptimizer,
    TrainHistoryFormatter,
    TrainLoop,
    quirks,
)
from compat.exceptions import CompatError
from compat.quirks import QuirkSettings
from tests.toys import TwoHeads, batches, make_loop, on

EPOCH = "------------------  End of epoch performance report  -------------------"
SECOND_FIT = {"Q01": "kept"}
END = "-----------------  End of training performance report  -----------------"


def writer(metric: str, hook: str = "epoch_end", order: int = 0) -> AbstractCallback:
    """Record 0.5 under a name."""
    callback = on(hook, lambda loop: loop.insert_metric_result_into_history(metric, 0.5))
    callback.execution_order = order
    return callback


def reported(out: str) -> list[str]:
    """The printed lines from the first header on, without those of the loop itself."""
    lines = out.splitlines()
    starts = [index for index, line in enumerate(lines) if line in (EPOCH, END)]
    own = ("=", "Epoch", "AVG", "TRAIN LOSS", "VAL LOSS", "TEST LOSS", "Auto purging", "MULTI-LOSS", "\t")
    return [line for line in lines[starts[0] :] if line and not line.startswith(own)] if starts else []


def fit_with(*callbacks: AbstractCallback, epochs: int = 1, **options: Any) -> TrainLoop:
    loop = make_loop(**options)
    loop.fit(epochs, callbacks=list(callbacks))
    return loop


def test_report_of_a_metric(capsys: pytest.CaptureFixture[str]) -> None:
    fit_with(writer("m"), writer("train_end_m", "train_end"), ModelPerformancePrintReport(["m"]))
    assert reported(capsys.readouterr().out) == [EPOCH, "m: 0.5", END, "train_end_m: 0.5"]


@pytest.mark.parametrize(
    ("options", "reports"),
    [
        ({}, 4),
        ({"report_frequency": 2}, 2),
        ({"report_frequency": 3}, 2),
        ({"on_each_epoch": False}, 0),
        ({"on_each_epoch": False, "report_frequency": 0}, 0),
    ],
)
def test_epochs_that_are_reported(options: Any, reports: int, capsys: pytest.CaptureFixture[str]) -> None:
    fit_with(ModelPerformancePrintReport(["loss"], **options), epochs=4)
    lines = reported(capsys.readouterr().out)
    assert lines.count(EPOCH) == reports
    assert lines.count(END) == 1


@pytest.mark.parametrize("is_strict", [True, False])
def test_last_report_shows_losses_under_their_plain_names(is_strict: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report = ModelPerformancePrintReport(["loss"], strict_metric_reporting=is_strict)
    loop = fit_with(report, epochs=2)
    first, last = loop.train_history["loss"]
    assert reported(capsys.readouterr().out) == [EPOCH, f"loss: {first}", EPOCH, f"loss: {last}", END, f"loss: {last}"]
    assert quirks.counts()["Q72"] == 1


def test_nothing_is_counted_where_the_train_end_metric_is_there() -> None:
    fit_with(writer("m"), writer("train_end_m", "train_end"), ModelPerformancePrintReport(["m"]))
    assert "Q72" not in quirks.counts()


def test_report_of_several_losses_shows_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    model = TwoHeads()
    optimizer = MultiOptimizer([torch.optim.SGD(head.parameters(), lr=0.1) for head in (model.b, model.a)])
    loop = fit_with(ModelPerformancePrintReport(["loss"]), model=model, optimizer=optimizer)
    mean = (loop.train_history["loss_a"][0] + loop.train_history["loss_b"][0]) / 2
    assert reported(capsys.readouterr().out) == [EPOCH, f"loss: {mean}", END, f"loss: {mean}"]


def test_report_of_all_names(capsys: pytest.CaptureFixture[str]) -> None:
    fit_with(ModelPerformancePrintReport(["loss"], list_tracked_metrics=True))
    assert reported(capsys.readouterr().out)[1] == "dict_keys(['loss', 'accumulated_loss'])"


def test_missing_metric_is_an_error_or_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = (
        "expected for the report missing from TrainLoop.train_history. "
        "Found only the following: dict_keys(['loss', 'accumulated_loss'])"
    )
    with pytest.raises(ValueError, match="Metric m expected for the report missing") as caught:
        fit_with(ModelPerformancePrintReport(["m"]))
    assert isinstance(caught.value, CompatError)
    capsys.readouterr()
    fit_with(ModelPerformancePrintReport(["m", "loss"], strict_metric_reporting=False))
    lines = reported(capsys.readouterr().out)
    assert lines[1] == f"Metric m {told}"
    assert lines[4] == f"Metric train_end_m {told}"


def test_metric_without_a_value_is_an_error_or_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(IndexError, match="Metric loss of the report has no value yet") as caught:
        fit_with(ModelPerformancePrintReport(["loss"]), end_auto_eval=False)
    assert isinstance(caught.value, CompatError)
    capsys.readouterr()
    fit_with(ModelPerformancePrintReport(["loss"], strict_metric_reporting=False), end_auto_eval=False)
    assert "Metric loss of the report has no value yet in TrainLoop.train_history" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("metrics", "options", "kind", "told"),
    [
        ([], {}, ValueError, "metrics list is empty"),
        (None, {}, TypeError, "metrics=None is a NoneType"),
        ("loss", {}, ValueError, r"metrics='loss' is a str, .*: \['loss'\]"),
        (["m"], {"report_frequency": 0}, ZeroDivisionError, "report_frequency=0"),
        (["m"], {"report_frequency": [1]}, TypeError, "report_frequency="),
    ],
)
def test_bad_arguments_of_a_report(metrics: Any, options: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        ModelPerformancePrintReport(metrics, **options)
    assert isinstance(caught.value, CompatError)


def doubled(source: str = "loss", **options: Any) -> TrainHistoryFormatter:
    return TrainHistoryFormatter(lambda history: history[source], lambda values: ("x", 2 * values[-1]), **options)


def twice(values: list[float]) -> list[float]:
    return [2 * value for value in values]


def test_formatter_records_a_value_an_epoch() -> None:
    loop = fit_with(doubled(), epochs=3)
    assert loop.train_history["x"] == twice(loop.train_history["loss"])
    assert "Q76" not in quirks.counts()


def test_formatter_at_the_end_of_the_training() -> None:
    loop = fit_with(doubled("train_end_test_loss", epoch_end=False, train_end=True), epochs=2, test=batches(1))
    assert loop.train_history["x"] == twice(loop.train_history["train_end_test_loss"])


@pytest.mark.parametrize("is_strict", [True, False])
def test_formatter_waits_for_the_epochs_that_are_evaluated(is_strict: bool) -> None:
    loop = fit_with(doubled(strict_metric_extract=is_strict), epochs=5, end_auto_eval=2)
    assert len(loop.train_history["loss"]) == 3
    assert loop.train_history["x"] == twice(loop.train_history["loss"])
    assert quirks.counts()["Q76"] == (4 if is_strict else 2)


def test_formatter_goes_on_in_a_second_fit() -> None:
    loop = fit_with(doubled(), epochs=2, quirks=SECOND_FIT)
    loop.fit(3)
    assert loop.train_history["x"] == twice(loop.train_history["loss"])
    assert quirks.counts()["Q76"] == 2


def test_formatter_of_a_second_fit_begins_there() -> None:
    loop = fit_with(epochs=2, quirks=SECOND_FIT)
    loop.fit(4, callbacks=[doubled()])
    assert loop.train_history["x"] == twice(loop.train_history["loss"][2:])


def test_formatter_after_resuming_with_an_empty_history() -> None:
    loop = make_loop()
    loop.epoch = 3
    loop.fit(5, callbacks=[doubled()])
    assert loop.train_history["x"] == twice(loop.train_history["loss"])


def test_formatter_at_the_end_of_two_fits_of_several_epochs() -> None:
    loop = fit_with(doubled(epoch_end=False, train_end=True), epochs=3, quirks=SECOND_FIT)
    loop.fit(5)
    assert loop.train_history["x"] == twice([loop.train_history["loss"][2], loop.train_history["loss"][-1]])


def test_formatter_of_what_another_fit_recorded_has_nothing_new() -> None:
    loop = make_loop(end_auto_eval=False)
    loop.train_history["loss"] = 1.0
    loop.train_history["loss"] = 1.0
    with pytest.raises(
        ValueError, match=r"not yet updated\. Expecting 1 history elements, but got 2 elements"
    ) as caught:
        loop.fit(2, callbacks=[doubled()])
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("before", [0, 2])
def test_formatter_never_takes_the_value_of_the_epoch_before(before: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What is recorded after it has looked is late each time; the old loop leaves it out, and so do we."""
    loop = make_loop()
    loop.train_history.train_history["m"] = [0.5] * before
    loop.fit(5, callbacks=[doubled("m", strict_metric_extract=False), writer("m", order=1)])
    assert len(loop.train_history["m"]) == 5 + before
    assert "x" not in loop.train_history
    assert f"Expecting 1 history elements, but got {before} elements." in capsys.readouterr().out


def test_the_same_formatter_twice_records_twice() -> None:
    callback = doubled()
    loop = make_loop(end_auto_eval=2, quirks={"Q07": "kept"})
    loop.fit(3, callbacks=[callback, callback])
    assert len(loop.train_history["x"]) == 4


def test_as_in_the_old_library_only_one_value_an_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuirkSettings, "fixed", lambda self, quirk: quirk != "Q76" and quirk != "Q18")
    loop = fit_with(doubled(strict_metric_extract=False), epochs=4, end_auto_eval=2)
    assert len(loop.train_history["x"]) == 1
    with pytest.raises(ValueError, match="Expecting 2 history elements, but got 1"):
        fit_with(doubled(), epochs=4, end_auto_eval=2)


@pytest.mark.parametrize(
    ("getter", "setter", "kind", "told"),
    [
        (lambda history: history["loss"][-1], None, TypeError, "input_metric_getter returned .* a float"),
        (lambda history: history["loss"], lambda values: 5, TypeError, "output_metric_setter returned 5"),
        (lambda history: history["loss"], lambda values: (1, 2, 3), ValueError, r"returned \(1, 2, 3\)"),
    ],
)
def test_functions_that_return_the_wrong_thing(getter: Any, setter: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        fit_with(TrainHistoryFormatter(getter, setter))
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("flag", [True, False])
def test_formatter_acts_in_one_phase(flag: bool) -> None:
    with pytest.raises(ValueError, match=f"Have set epoch_end to {flag} and train_end to {flag}") as caught:
        doubled(epoch_end=flag, train_end=flag)
    assert isinstance(caught.value, CompatError)


def test_getter_that_fails_before_the_training_is_asked_again() -> None:
    loop = fit_with(writer("m"), doubled("m"), epochs=2)
    assert loop.train_history["x"] == [1.0, 1.0]


def test_rename_copies_each_value_and_keeps_the_metric() -> None:
    loop = fit_with(
        MetricHistoryRename("loss", "x"), MetricHistoryRename(lambda history: history["loss"], "y"), epochs=2
    )
    assert loop.train_history["x"] == loop.train_history["y"] == loop.train_history["loss"]
    assert len(loop.train_history["loss"]) == 2


def test_rename_at_the_end_of_the_training() -> None:
    loop = fit_with(MetricHistoryRename("train_end_test_loss", "x", False, True), test=batches(1))
    assert loop.train_history["x"] == loop.train_history["train_end_test_loss"]


def test_rename_travels_to_other_processes() -> None:
    loop = fit_with(pickle.loads(pickle.dumps(MetricHistoryRename("loss", "x"))))
    assert loop.train_history["x"] == loop.train_history["loss"]


def test_rename_of_a_missing_metric_names_the_others() -> None:
    with pytest.raises(KeyError, match=r"no metric 'm'\. It holds: loss, accumulated_loss") as caught:
        fit_with(MetricHistoryRename("m", "x"))
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("is_strict", [True, False])
def test_rename_to_its_own_name_doubles_the_first_value_and_is_not_corrected(is_strict: bool) -> None:
    loop = make_loop()
    rename = MetricHistoryRename("accumulated_loss", "accumulated_loss", strict_metric_extract=is_strict)
    with pytest.raises(ValueError, match="Expecting 2") if is_strict else nullcontext():
        loop.fit(3, callbacks=[rename])
    values = loop.train_history["accumulated_loss"]
    assert values[0] == values[1]
    assert len(values) == (3 if is_strict else 4)
    assert "Q76" not in quirks.counts()


def test_a_report_of_letters_prints_a_line_for_each_unless_it_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="whose letters are no metrics"):
        ModelPerformancePrintReport("loss")
    make_loop().fit(1, callbacks=[ModelPerformancePrintReport("lo", strict_metric_reporting=False)])
    assert capsys.readouterr().out.count("Metric l expected for the report missing") == 1


def asked_at(**options: Any) -> list[int]:
    """How many values there were whenever the getter was asked, in two epochs."""
    asked: list[int] = []

    def getter(history: Any) -> Any:
        asked.append(len(history["accumulated_loss"]))
        return list(history["accumulated_loss"])

    make_loop().fit(2, callbacks=[TrainHistoryFormatter(getter, lambda values: ("new", values[-1]), **options)])
    return asked


def test_the_getter_is_asked_when_the_old_library_asks_it() -> None:
    assert asked_at() == [1, 1, 2, 2]
    assert asked_at(epoch_end=False, train_end=True) == [2, 2]


def test_a_getter_with_a_memory_of_its_own_is_not_taken_for_a_metric_that_grows() -> None:
    seen: list[int] = []

    def getter(history: Any) -> Any:
        seen.append(len(history["accumulated_loss"]))
        return list(seen)

    loop = make_loop()
    formatter = TrainHistoryFormatter(getter, lambda values: ("new", len(values)), strict_metric_extract=False)
    loop.fit(3, callbacks=[formatter])
    assert (seen, loop.train_history["new"]) == ([1, 1, 2, 3], [2])
    assert "Q76" not in quirks.counts()


class Positional(MetricHistoryRename):
    """Names the argument otherwise."""

    def check_if_history_updated(self, at_end: bool) -> bool:
        return not at_end


def test_an_override_may_name_the_argument_otherwise() -> None:
    loop = make_loop()
    loop.fit(2, callbacks=[Positional("accumulated_loss", "new")])
    assert loop.train_history["new"] == loop.train_history["accumulated_loss"]
