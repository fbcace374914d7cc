"""Hand-written programs: result packages, evaluated by ``ModelPerformanceEvaluation``."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.spec import Call, Cb, Data, Do, Fit, Options, Plain, Program, options, with_loaders_restored

_TWO: Options = options(kinds=("sgd", "adam"))


def _evaluation(**settings: Plain) -> Cb:
    return Cb("evaluation", options(**settings))


def _both(package: str, **settings: Plain) -> Cb:
    return _evaluation(package=package, on_train_data=True, **settings)


def _with_loss(program: Program, *more: str) -> Program:
    """``program`` as one whose package wants the loss: it gets numbers (Q36), and stored metadata stay clean (Q35)."""
    return replace(program, corrected=("Q35", *more), correction="loss_as_numbers")


_EXPERIMENT = Do(
    "set",
    options(project_name="project", experiment_name="experiment", local_model_result_folder_path="results"),
)

_TWICE = Cb("evaluation", options(package="told", on_train_data=True), key="twice")

EVALUATION: tuple[Program, ...] = (
    Program("evaluates-regression", actions=(Fit(2, callbacks=(_both("regression"),)), Fit(3)), smoke=True),
    Program(
        "evaluates-shuffled-with-dropout",
        model="dropout",
        optimizer="adam",
        actions=(Fit(3, callbacks=(_both("regression"),)),),
    ),
    Program("evaluates-noisy-data", data=Data(kind="noisy"), actions=(Fit(2, callbacks=(_both("told"),)),)),
    Program(
        "evaluates-every-second-epoch",
        actions=(Fit(4, callbacks=(_evaluation(package="regression", eval_frequency=2),)),),
    ),
    Program(
        "evaluates-fractional-frequency",
        actions=(Fit(4, callbacks=(_evaluation(package="told", eval_frequency=1.5, on_train_data=True),)),),
    ),
    Program("evaluates-at-the-end-only", actions=(Fit(2, callbacks=(_both("regression", on_each_epoch=False),)),)),
    Program(
        "evaluates-at-the-end-only-zero-frequency",
        actions=(Fit(2, callbacks=(_both("regression", on_each_epoch=False, eval_frequency=0),)),),
    ),
    Program(
        "evaluates-training-data-only",
        data=Data(sets=()),
        actions=(Fit(2, callbacks=(_both("regression", on_val_data=False),)),),
    ),
    Program(
        "evaluates-binary",
        model="probability",
        data=Data(kind="binary"),
        optimizer="adam",
        actions=(Fit(3, callbacks=(_both("binary"),)),),
        smoke=True,
    ),
    Program(
        "evaluates-binary-with-threshold",
        model="probability",
        data=Data(kind="binary", rows=30),
        actions=(Fit(2, callbacks=(_evaluation(package="binary_strict"),)),),
    ),
    Program(
        "evaluates-classes",
        data=Data(kind="wine"),
        criterion="cross_entropy",
        optimizer="adam",
        actions=(Fit(3, callbacks=(_both("classification"),)),),
    ),
    Program(
        "evaluates-images",
        model="cnn",
        data=Data(kind="images"),
        criterion="cross_entropy",
        actions=(Fit(2, callbacks=(_both("classification"),)),),
    ),
    Program("evaluates-list-of-metrics", actions=(Fit(2, callbacks=(_both("general"),)),)),
    Program("evaluates-with-metadata", model="metadata", actions=(Fit(2, callbacks=(_both("told"),)),), smoke=True),
    Program("evaluates-tensors", model="metadata", actions=(Fit(1, callbacks=(_both("told_tensors"),)),)),
    Program("evaluates-nested-values", actions=(Fit(2, callbacks=(_both("nested"),)),)),
    Program("evaluates-metrics-that-vary", actions=(Fit(3, callbacks=(_both("varying"),)),)),
    Program("evaluates-no-metrics", actions=(Fit(2, callbacks=(_both("without"),)),)),
    Program("evaluates-nothing", actions=(Fit(1, callbacks=(_evaluation(package="nothing"),)),)),
    Program("evaluates-feed", model="feed", actions=(Fit(2, callbacks=(_both("told"),)),)),
    Program("evaluates-list-of-batches", data=Data(form="list"), actions=(Fit(2, callbacks=(_both("regression"),)),)),
    Program("evaluates-stream", data=Data(form="stream"), actions=(Fit(2, callbacks=(_both("regression"),)),)),
    Program(
        "evaluates-several-losses",
        model="multi",
        optimizer="multi",
        optimizer_options=_TWO,
        actions=(Fit(2, callbacks=(_both("told"),)),),
    ),
    Program(
        "evaluates-without-auto-eval",
        auto_eval=False,
        model="dropout",
        actions=(Fit(2, callbacks=(_both("regression"),)),),
    ),
    Program("evaluates-auto-eval-2", auto_eval=2, actions=(Fit(3, callbacks=(_both("regression"),)),)),
    Program("evaluates-iterations", actions=(Fit(iterations=7, accumulation=2, callbacks=(_both("regression"),)),)),
    Program("evaluates-alone", recorders="none", actions=(Fit(2, callbacks=(_both("regression"),)),)),
    Program(
        "evaluates-listed",
        recorders="none",
        loop_options=options(print_callbacks=True),
        actions=(Fit(1, callbacks=(_both("told"), Cb("report", options(metrics=("val_gap",))))),),
    ),
    Program(
        "evaluation-is-watched",
        optimizer="adam",
        actions=(
            Fit(
                6,
                callbacks=(
                    _both("regression"),
                    Cb("early", options(monitor="val_Mean_absolute_error")),
                    Cb("plateau_metric", options(metric_name="val_Mean_squared_error", patience=0, threshold=0.9)),
                    Cb("rename", options(input_metric_path="val_Mean_squared_error", new_metric_name="error")),
                    Cb("report", options(metrics=("val_Mean_squared_error", "train_Mean_absolute_error"))),
                ),
            ),
        ),
    ),
    with_loaders_restored(
        Program(
            "evaluates-a-subset",
            actions=(
                Fit(2, callbacks=(Cb("subset", options(num_train_batches=2, num_val_batches=1)), _both("told"))),
                Fit(3),
            ),
        )
    ),
    Program(
        "evaluation-registered-twice",
        actions=(Fit(1, callbacks=(_TWICE,)), Fit(2, callbacks=(_TWICE,))),
    ),
    Program(
        "evaluation-of-own-predictions",
        loop="own_prediction",
        actions=(Fit(2, callbacks=(_both("told"),)),),
        model="feed",
    ),
    Program(
        "evaluation-in-a-rounded-history", loop="rounded_history", actions=(Fit(2, callbacks=(_both("regression"),)),)
    ),
    Program("evaluation-in-weighted-order", data=Data(form="weighted"), actions=(Fit(2, callbacks=(_both("told"),)),)),
    Program(
        "evaluation-of-two-packages",
        model="metadata",
        actions=(Fit(2, callbacks=(_both("told"), _evaluation(package="regression"))),),
    ),
    Program(
        "evaluation-in-a-later-fit",
        actions=(Fit(1), Fit(3, callbacks=(_both("regression"),))),
    ),
    _with_loss(
        Program(
            "corrected-evaluation-with-loss",
            model="metadata",
            actions=(Fit(2, callbacks=(_both("told", wants_loss=True),)),),
            smoke=True,
        ),
        "Q36",
    ),
    _with_loss(
        Program(
            "corrected-evaluation-with-loss-without-auto-eval",
            model="metadata_dropout",
            auto_eval=False,
            actions=(Fit(2, callbacks=(_both("told", wants_loss=True),)),),
        ),
        "Q36",
    ),
    _with_loss(
        Program(
            "corrected-evaluation-with-loss-of-validation-data",
            model="metadata",
            actions=(
                Fit(1, callbacks=(_evaluation(package="told", wants_loss=True),)),
                Call("predict_on_validation_set"),
            ),
        ),
    ),
    _with_loss(
        Program(
            "corrected-evaluation-with-several-losses",
            model="multi",
            optimizer="multi",
            optimizer_options=_TWO,
            actions=(Fit(2, callbacks=(_both("told", wants_loss=True),)),),
        ),
        "Q36",
    ),
    Program(
        "evaluation-is-told-the-folder",
        actions=(_EXPERIMENT, Fit(1, callbacks=(_evaluation(package="told"),))),
    ),
    Program(
        "evaluation-is-not-told-the-folder",
        actions=(_EXPERIMENT, Fit(1, callbacks=(_both("told", if_available_output_to_project_dir=False),))),
    ),
    Program(
        "evaluation-knows-part-of-the-folder",
        actions=(Do("set", options(project_name="project")), Fit(1, callbacks=(_both("told"),))),
    ),
    Program(
        "corrected-folder-of-the-training-package",
        actions=(_EXPERIMENT, Fit(1, callbacks=(_both("told"),))),
        corrected=("Q74",),
        correction="both_packages_told",
    ),
    Program(
        "evaluates-missing-validation-data",
        data=Data(sets=("test",)),
        actions=(Fit(1, callbacks=(_evaluation(package="regression"),)),),
        corrected=("Q20",),
        correction="train_mode_after_error",
    ),
    Program(
        "evaluates-no-data",
        actions=(Fit(1, callbacks=(_evaluation(package="told", on_val_data=False),)),),
    ),
)
