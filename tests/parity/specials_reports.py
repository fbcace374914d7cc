"""Hand-written programs: callbacks that print the history, and that add to it what can be made of it."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.spec import Cb, Data, Do, Fit, Plain, Program, options

_WRITTEN = (
    Cb("write", options(metric="m")),
    Cb("write", options(at="train_end", metric="train_end_m")),
)


def _report(*metrics: str, **settings: Plain) -> Cb:
    return Cb("report", options(metrics=metrics, **settings))


def _losses_at_the_end(program: Program, callbacks: tuple[Cb, ...]) -> Program:
    """Q72: the last report shows losses under their plain names; the stand-in is not strict about them."""
    lax = tuple(
        replace(cb, options=(*cb.options, ("strict_metric_reporting", False))) if cb.name == "report" else cb
        for cb in callbacks
    )
    fits = [replace(program, actions=(Fit(3, callbacks=given),)) for given in (callbacks, lax)]
    return replace(fits[0], corrected=("Q72",), correction="losses_at_the_end", stand_in=fits[1])


def _formats(program: Program, *fits: Fit, every: int = 1, source: str = "loss", at: str = "epoch_end") -> Program:
    """Q76: the stand-in has a formatter by hand in place of the first."""
    by_hand = Cb("formatter_by_hand", options(every=every, source=source, at=at))
    instead = tuple(
        replace(fit, callbacks=tuple(by_hand if cb.name == "formatter" else cb for cb in fit.callbacks)) for fit in fits
    )
    return replace(program, actions=fits, corrected=("Q76",), stand_in=replace(program, actions=instead))


_LOSS = Cb("formatter", options(source="loss"))
_AT_THE_END = options(epoch_end=False, train_end=True)

REPORTS: tuple[Program, ...] = (
    Program("reports-every-second-epoch", actions=(Fit(4, callbacks=(*_WRITTEN, _report("m", report_frequency=2))),)),
    Program("reports-at-the-end-only", actions=(Fit(2, callbacks=(*_WRITTEN, _report("m", on_each_epoch=False))),)),
    Program(
        "reports-all-names",
        actions=(Fit(2, callbacks=(*_WRITTEN, _report("m", list_tracked_metrics=True))),),
        smoke=True,
    ),
    Program("reports-missing-metric", actions=(Fit(2, callbacks=(_report("m", "loss"),)),)),
    Program(
        "reports-missing-metric-not-strict",
        actions=(Fit(2, callbacks=(_report("nothing", "nor this", strict_metric_reporting=False),)),),
    ),
    Program("reports-empty-list", actions=(Fit(1, callbacks=(_report(),)),)),
    Program("reports-before-any-value", auto_eval=False, actions=(Fit(1, callbacks=(_report("loss"),)),)),
    Program("reports-in-two-fits", actions=(Fit(1, callbacks=(*_WRITTEN, _report("m"))), Fit(3))),
    _losses_at_the_end(Program("corrected-report-of-losses"), (_report("loss", "val_loss"),)),
    _losses_at_the_end(
        Program("corrected-report-of-losses-and-more", recorders="none", smoke=True),
        (*_WRITTEN, _report("val_loss", "m", "accumulated_loss", report_frequency=2)),
    ),
    Program(
        "corrected-report-of-losses-not-strict",
        actions=(Fit(2, callbacks=(_report("loss", "nothing", strict_metric_reporting=False),)),),
        corrected=("Q72",),
        correction="losses_at_the_end",
    ),
    Program("renames-with-function", actions=(Fit(2, callbacks=(Cb("rename_by_function"),)),)),
    Program(
        "renames-at-the-end",
        actions=(
            Fit(
                2,
                callbacks=(
                    Cb(
                        "rename", (*options(input_metric_path="train_end_test_loss", new_metric_name="t"), *_AT_THE_END)
                    ),
                ),
            ),
        ),
    ),
    Program(
        "renames-missing-metric",
        actions=(Fit(1, callbacks=(Cb("rename", options(input_metric_path="m", new_metric_name="n")),)),),
    ),
    Program("formats-loss", model="dropout", actions=(Fit(3, callbacks=(_LOSS,)),)),
    Program(
        "formats-at-the-end", actions=(Fit(1, callbacks=(Cb("formatter", (*options(source="loss"), *_AT_THE_END)),)),)
    ),
    Program("formats-before-any-value", auto_eval=False, actions=(Fit(1, callbacks=(_LOSS,)),)),
    Program(
        "formats-before-any-value-not-strict",
        auto_eval=False,
        actions=(Fit(3, callbacks=(Cb("formatter", options(source="loss", strict=False)),)),),
    ),
    Program(
        "formats-what-is-recorded-later",
        actions=(
            Do("write_history", options(metric="m", value=1.5)),
            Do("write_history", options(metric="m", value=2.5)),
            Fit(
                4,
                callbacks=(
                    Cb("formatter", options(source="m", strict=False)),
                    Cb("write", options(metric="m", order=5)),
                ),
            ),
        ),
        data=Data(sets=()),
    ),
    Program("formats-in-both-phases", actions=(Fit(1, callbacks=(Cb("formatter", options(train_end=True)),)),)),
    _formats(Program("corrected-formatter-auto-eval-2", auto_eval=2), Fit(4, callbacks=(_LOSS,)), every=2),
    _formats(
        Program("corrected-formatter-auto-eval-3", auto_eval=3, model="dropout"), Fit(7, callbacks=(_LOSS,)), every=3
    ),
    _formats(Program("corrected-formatter-in-a-second-fit", smoke=True), Fit(2, callbacks=(_LOSS,)), Fit(4)),
    _formats(Program("corrected-formatter-of-a-second-fit"), Fit(2), Fit(4, callbacks=(_LOSS,))),
    _formats(
        Program("corrected-formatter-at-the-end"),
        Fit(3, callbacks=(Cb("formatter", (*options(source="loss"), *_AT_THE_END)),)),
        at="train_end",
    ),
    replace(
        _formats(Program("corrected-formatter-after-resuming"), Fit(5, callbacks=(_LOSS,))),
        actions=(Do("set", options(epoch=2)), Fit(5, callbacks=(_LOSS,))),
        stand_in=Program(
            "corrected-formatter-after-resuming",
            actions=(Do("set", options(epoch=2)), Fit(5, callbacks=(Cb("formatter_by_hand", options(source="loss")),))),
        ),
    ),
)
