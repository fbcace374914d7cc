"""Hand-written programs: subclasses of ``TrainLoop``, schedulers in every mode, and the calls outside of ``fit``."""

from __future__ import annotations

from typing import Any

from tests.parity.spec import Call, Cb, Data, Do, Fit, Options, Program, options

_FORCE = options(force_prediction=True)
_CPU = options(move_to_cpu=True)
_INFO: Options = (("dataset_info", None),)


def _sub(name: str, **more: Any) -> Program:
    """A program for one subclass: two fits with a window, so that every verb has something to do."""
    settings: dict[str, Any] = {"actions": (Fit(2, accumulation=2), Fit(3)), "optimizer": "momentum"}
    return Program(f"subclass-{name}", loop=name, **{**settings, **more})


def _schedule(name: str, optimizer: str, *fits: Fit, label: str = "", **settings: Any) -> Program:
    callback = Cb(name, tuple(settings.items()))
    first, *rest = fits
    given = Fit(first.epochs, first.iterations, first.accumulation, (callback, *first.callbacks))
    return Program(f"schedule-{label or name}", optimizer=optimizer, actions=(given, *rest))


SUBCLASSES: tuple[Program, ...] = (
    _sub("verbs", smoke=True),
    Program(
        "subclass-verbs-iterations",
        loop="verbs",
        optimizer="adam",
        recorders="none",
        actions=(Fit(iterations=8, accumulation=3), Fit(iterations=12)),
    ),
    Program(
        "subclass-verbs-gradient-hooks",
        loop="verbs",
        actions=(Fit(2, accumulation=2, callbacks=(Cb("clip_value", options(max_grad_value=0.1)),)),),
    ),
    _sub("scaled_loss"),
    _sub("own_loss", model="dropout", smoke=True),
    _sub("own_backward"),
    _sub("failing_backward", actions=(Fit(1),)),
    _sub("noisy_step"),
    _sub("own_step"),
    _sub("lazy_zero", actions=(Fit(2), Fit(3)), smoke=True),
    _sub("every_third", actions=(Fit(3), Fit(4, callbacks=(Cb("lambda", options(batch=True, epoch=False)),)))),
    _sub("end_of_epoch"),
    _sub("end_of_training"),
    _sub("last_loss"),
    _sub("prefixed_save", smoke=True),
    _sub("rounded_history"),
    _sub("around_train"),
    _sub("own_train", actions=(Fit(2),)),
    _sub("around_fit"),
    _sub("own_prediction", model="metadata"),
    _sub("silent"),
)

SCHEDULES: tuple[Program, ...] = (
    _schedule("step", "adam", Fit(3), Fit(5), label="step-two-fits", step_size=2, gamma=0.5),
    _schedule("step", "groups", Fit(3), label="step-groups", step_size=1, gamma=0.5),
    _schedule("multistep", "momentum", Fit(4), milestones_list=(1, 2), gamma=0.1),
    _schedule("general", "adamw", Fit(3), gamma=0.7),
    _schedule("lambda", "sgd", Fit(2, accumulation=2), label="lambda-batch-window", batch=True, epoch=False),
    _schedule("lambda", "sgd", Fit(2), label="lambda-batch-and-epoch", batch=True),
    _schedule("plateau", "sgd", Fit(4), label="plateau-patience", patience=1, factor=0.5, threshold=0.5),
    _schedule("plateau_metric", "adam", Fit(4), metric_name="accumulated_loss", patience=0, threshold=0.3),
    _schedule("plateau_metric", "adam", Fit(2), label="plateau-of-unknown-metric", metric_name="unknown"),
    _schedule("warm_constant", "sgd", Fit(2), Fit(3), label="warm-constant-two-fits", num_warmup_steps=7),
    _schedule(
        "warm_linear",
        "adamw",
        Fit(2, accumulation=2),
        label="warm-linear-window",
        num_warmup_steps=2,
        num_training_steps=6,
    ),
    _schedule("warm_linear", "sgd", Fit(2), label="warm-linear-runs-out", num_warmup_steps=0, num_training_steps=5),
    _schedule(
        "warm_cosine",
        "adam",
        Fit(iterations=8),
        label="warm-cosine-iterations",
        num_warmup_steps=3,
        num_training_steps=8,
        num_cycles=1.5,
    ),
    _schedule("warm_restarts", "momentum", Fit(3), num_warmup_steps=1, num_training_steps=12, num_cycles=3),
    _schedule("warm_constant", "duck", Fit(1), label="warm-constant-needs-optimizer", num_warmup_steps=2),
    Program(
        "schedule-two-at-once",
        actions=(
            Fit(
                3,
                callbacks=(
                    Cb("step", options(step_size=1, gamma=0.5)),
                    Cb("lambda", options(batch=True, epoch=False)),
                    Cb("registry"),
                ),
            ),
        ),
    ),
    Program(
        "schedule-plateau-without-auto-eval",
        auto_eval=False,
        model="dropout",
        actions=(Fit(3, callbacks=(Cb("plateau", options(patience=0)),)),),
    ),
    Program(
        "schedule-plateau-without-validation",
        corrected=("Q20",),
        correction="train_mode_after_error",
        data=Data(sets=()),
        actions=(Fit(1, callbacks=(Cb("plateau"),)),),
    ),
    Program(
        "schedule-warmup-with-flag",
        actions=(Fit(1, callbacks=(Cb("warm_constant", options(num_warmup_steps=1, execute_epoch_end=True)),)),),
    ),
)

CALLS: tuple[Program, ...] = (
    Program(
        "calls-before-any-fit",
        model="dropout",
        actions=(Call("evaluate_loss_on_train_set"), Call("predict_on_test_set"), Call("predict_on_test_set"), Fit(1)),
        smoke=True,
    ),
    Program(
        "calls-with-own-loader",
        model="metadata",
        actions=(
            Fit(1),
            Call("predict_with_model", loader="other"),
            Call("evaluate_model_loss", loader="other"),
            Call("predict_with_model", _CPU, loader="other"),
            Call("evaluate_model_loss", _INFO, loader="other"),
            Call("predict_with_model", options(execute_callbacks=True), loader="other"),
        ),
    ),
    Program(
        "calls-forced",
        model="dropout",
        actions=(
            Fit(1),
            Call("predict_on_train_set", _FORCE),
            Call("predict_on_train_set", _FORCE),
            Call("evaluate_loss_on_validation_set", _FORCE),
        ),
    ),
    Program(
        "calls-served-stale",
        actions=(
            Fit(1),
            Do("shift_weights", options(by=1.0)),
            Call("predict_on_validation_set"),
            Call("predict_on_test_set"),
            Call("evaluate_loss_on_validation_set"),
            Call("evaluate_loss_on_validation_set", _FORCE),
        ),
        smoke=True,
    ),
    Program(
        "calls-served-stale-after-swap",
        actions=(
            Fit(1),
            Do("loader", options(attribute="validation_loader", split="other")),
            Call("predict_on_validation_set"),
            Call("evaluate_loss_on_validation_set"),
            Call("predict_on_validation_set", _FORCE),
        ),
    ),
    Program(
        "calls-in-eval-mode",
        data=Data(rows=20),
        model="batch_norm",
        actions=(Fit(1), Do("eval_mode"), Call("evaluate_loss_on_test_set", _FORCE), Fit(3)),
    ),
    Program(
        "calls-without-loader",
        data=Data(sets=()),
        actions=(Fit(1), Call("get_num_training_steps"), Call("is_main_process")),
    ),
    Program(
        "calls-num-steps-before-fit",
        actions=(Call("get_num_training_steps"), Fit(2, accumulation=2), Call("get_num_training_steps")),
    ),
    Program("calls-num-steps-long-window", actions=(Fit(2, accumulation=10), Call("get_num_training_steps"))),
    Program(
        "calls-write-history",
        actions=(
            Do("write_history", options(metric="before", value=1.5)),
            Fit(2),
            Do("write_history", options(metric="loss", value=2.5)),
            Fit(3),
        ),
    ),
    Program("collate-concat-predictions", loop_options=options(collate_batch_pred_fn="append_concat_predictions")),
    Program(
        "keep-list-through-predict-with-model",
        loop_options=options(pred_transform_fn="keep_list_transf"),
        epilogue=False,
        actions=(Fit(1), Call("predict_with_model", loader="other")),
    ),
)

LOOP_PROGRAMS: tuple[Program, ...] = (*SUBCLASSES, *SCHEDULES, *CALLS)
