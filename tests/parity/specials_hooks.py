"""Hand-written programs: what callbacks may do to the loop, and in which order they do it."""

from __future__ import annotations

from typing import Any

from tests.parity.spec import Call, Cb, Data, Fit, Program, options

_FIVE_ORDERS = tuple(
    Cb("order", options(name=name, order=order)) for name, order in (("A", 5), ("B", 0), ("C", -3), ("D", 0), ("E", 5))
)
_PREDICT = ("predict_on_train_set", "predict_on_validation_set", "predict_on_test_set")
_EVALUATE = ("evaluate_loss_on_train_set", "evaluate_loss_on_validation_set", "evaluate_loss_on_test_set")
_FORCE = (("force_prediction", True),)


def _one(name: str, epochs: int = 3, **settings: Any) -> tuple[Fit, ...]:
    return (Fit(epochs, callbacks=(Cb(name, tuple(settings.items())),)),)


HOOKS: tuple[Program, ...] = (
    # The negative controls in test_compare change this one in every place.
    Program(
        "control-of-the-comparison",
        model="metadata_batch_norm",
        criterion="weighted",
        optimizer="adam",
        actions=(
            Fit(
                2,
                accumulation=2,
                callbacks=(
                    Cb("early", options(patience=3)),
                    Cb("step", options(step_size=1)),
                    Cb("message", options(at="train_end", how=("KEEP_FOREVER",))),
                ),
            ),
            Call("predict_with_model", options(unknown=True), loader="val"),
        ),
    ),
    Program("orders", actions=(Fit(1, callbacks=_FIVE_ORDERS),), smoke=True),
    Program(
        "orders-with-later-callbacks",
        actions=(
            Fit(1, callbacks=_FIVE_ORDERS),
            Fit(2, callbacks=(Cb("order", options(name="F", order=-10)), Cb("order", options(name="G", order=1)))),
        ),
    ),
    Program("orders-all-zero", recorders="none", actions=(Fit(2, callbacks=_FIVE_ORDERS[1:2] + _FIVE_ORDERS[3:4]),)),
    Program(
        "orders-printed",
        recorders="none",
        loop_options=options(print_callbacks=True),
        actions=(Fit(1, callbacks=_FIVE_ORDERS),),
    ),
    Program("seeded-in-epoch-begin", model="dropout", actions=_one("seeding", at="epoch_begin", seed=3), smoke=True),
    Program(
        "seeded-in-train-begin",
        model="dropout",
        optimizer="adam",
        actions=_one("seeding", at="train_begin", seed=4),
        smoke=True,
    ),
    Program(
        "seeded-in-batch-begin",
        model="dropout",
        data=Data(kind="noisy"),
        actions=_one("seeding", at="batch_begin", seed=5),
    ),
    Program("seeded-in-batch-end", model="drawing", actions=_one("seeding", at="batch_end", seed=6)),
    Program(
        "seeded-in-epoch-end", model="dropout", data=Data(kind="noisy"), actions=_one("seeding", at="epoch_end", seed=7)
    ),
    Program("seeded-at-registration", model="dropout", actions=_one("seeding", at="registration", seed=8)),
    Program("draws-in-epoch-begin", model="dropout", actions=_one("drawing", at="epoch_begin")),
    Program(
        "draws-in-batch-begin", model="dropout", optimizer="adam", actions=_one("drawing", at="batch_begin"), smoke=True
    ),
    Program("draws-in-train-begin", data=Data(kind="noisy"), actions=_one("drawing", at="train_begin")),
    Program("draws-in-train-end", actions=(Fit(1, callbacks=(Cb("drawing", options(at="train_end")),)), Fit(3))),
    Program(
        "eval-mode-in-epoch-begin-no-eval",
        model="dropout",
        auto_eval=False,
        actions=_one("eval_mode", at="epoch_begin", when=1),
        smoke=True,
    ),
    Program("eval-mode-in-epoch-begin", model="dropout", actions=_one("eval_mode", at="epoch_begin")),
    Program(
        "eval-mode-in-train-begin",
        model="batch_norm",
        auto_eval=2,
        optimizer="adam",
        actions=_one("eval_mode", at="train_begin"),
    ),
    Program(
        "eval-mode-in-batch-begin",
        model="batch_norm",
        auto_eval=False,
        actions=_one("eval_mode", at="batch_begin", when=2, counted_by="total_iteration_idx"),
    ),
    Program(
        "eval-mode-in-train-end",
        model="dropout",
        actions=(Fit(1, callbacks=(Cb("eval_mode", options(at="train_end")),)), Fit(3)),
    ),
    Program(
        "predicts-in-epoch-end", model="metadata", optimizer="adam", actions=_one("ask", methods=_PREDICT), smoke=True
    ),
    Program("predicts-in-epoch-end-forced", model="metadata", actions=_one("ask", methods=_PREDICT, arguments=_FORCE)),
    Program(
        "predicts-with-callbacks",
        model="metadata",
        actions=_one("ask", methods=_PREDICT, arguments=(("execute_callbacks", True),)),
        smoke=True,
    ),
    Program("evaluates-in-epoch-end-hits-store", actions=_one("ask", methods=_EVALUATE)),
    Program(
        "evaluates-in-epoch-end-without-auto", auto_eval=False, model="dropout", actions=_one("ask", methods=_EVALUATE)
    ),
    Program(
        "evaluates-in-batch-end",
        model="dropout",
        optimizer="adam",
        actions=_one("ask", epochs=2, at="batch_end", methods=_EVALUATE[:2]),
    ),
    Program(
        "predicts-in-batch-end",
        model="batch_norm",
        actions=_one("ask", epochs=2, at="batch_end", methods=_PREDICT[:2]),
        smoke=True,
    ),
    Program(
        "predicts-in-batch-begin",
        model="dropout",
        actions=_one("ask", epochs=2, at="batch_begin", methods=_PREDICT[1:]),
    ),
    Program("predicts-in-train-begin", actions=_one("ask", at="train_begin", methods=_PREDICT + _EVALUATE)),
    Program("predicts-in-epoch-begin", actions=_one("ask", at="epoch_begin", methods=_PREDICT)),
    Program("predicts-in-train-end-hits-store", actions=_one("ask", at="train_end", methods=_PREDICT + _EVALUATE)),
    Program(
        "predicts-mid-window",
        model="dropout",
        optimizer="momentum",
        actions=(Fit(2, accumulation=3, callbacks=(Cb("ask", options(at="batch_end", methods=_PREDICT[:1])),)),),
    ),
    Program(
        "evaluates-with-float-dict",
        actions=_one("ask", methods=_EVALUATE, arguments=(("float_dict_format", True), ("force_prediction", True))),
    ),
    Program("same-predictions", model="linear", actions=_one("same", value=0.0, stop_training=False)),
    Program("writes-history", actions=_one("write", metric="mine")),
    Program("writes-history-per-batch", actions=_one("write", at="batch_end", metric="mine"), smoke=True),
    Program("writes-into-loss-history", actions=_one("write", at="epoch_begin", metric="loss")),
    Program(
        "stops-on-own-metric",
        actions=(
            Fit(
                6,
                callbacks=(
                    Cb("write", options(metric="own_error")),
                    Cb("early", options(monitor="own_error", patience=1)),
                ),
            ),
        ),
    ),
    Program(
        "stops-maximising-own-metric",
        actions=(
            Fit(4, callbacks=(Cb("write", options(metric="own")), Cb("early", options(monitor="own", min_delta=0.3)))),
        ),
    ),
    Program("stops-below-threshold", actions=_one("threshold", epochs=5, monitor="loss", threshold=1e-3, patience=1)),
    Program("early-stopping-stale-values", auto_eval=2, actions=_one("early", epochs=6)),
    Program("early-stopping-without-evaluation", auto_eval=False, actions=_one("early")),
    Program("early-stopping-without-validation", data=Data(sets=()), actions=_one("early")),
    Program("edits-rates-per-epoch", optimizer="groups", actions=_one("edit_rate", at="epoch_begin", factor=0.5)),
    Program("edits-rates-per-batch", optimizer="adam", actions=_one("edit_rate", at="batch_end", factor=0.9)),
    Program(
        "edits-weights-in-batch-begin",
        optimizer="momentum",
        actions=_one("edit_weights", at="batch_begin", factor=0.99),
    ),
    Program("edits-weights-after-evaluation", actions=_one("edit_weights", at="epoch_end", factor=0.5)),
    Program(
        "messages-per-epoch",
        actions=(
            Fit(
                2,
                callbacks=(
                    Cb("message", options(at="epoch_begin")),
                    Cb("read", options(topic="news")),
                    Cb("read", options(at="train_end", topic="news")),
                ),
            ),
        ),
    ),
    Program(
        "messages-until-read",
        actions=(
            Fit(
                3,
                callbacks=(
                    Cb("message", options(at="batch_end", how=("UNTIL_READ",))),
                    Cb("read", options(at="epoch_end", when=1, topic="news")),
                    Cb("read", options(at="train_end", topic="news")),
                ),
            ),
            Fit(4),
        ),
        smoke=True,
    ),
    Program(
        "messages-kept-and-overwritten",
        actions=(
            Fit(
                2,
                callbacks=(
                    Cb("message", options(at="epoch_end", how=("KEEP_FOREVER",), topic="kept")),
                    Cb("message", options(at="batch_end", how=("OVERWRITE", "UNTIL_READ"), topic="last")),
                    Cb("read", options(at="train_end", topic="kept")),
                    Cb("read", options(at="train_end", topic="last")),
                    Cb("read", options(at="train_end", topic="unknown")),
                ),
            ),
        ),
    ),
    Program(
        "messages-with-wrong-settings", actions=_one("message", at="batch_end", how=("UNTIL_READ", "KEEP_FOREVER"))
    ),
    Program("registry-asked", actions=(Fit(2, accumulation=2, callbacks=(Cb("registry"), Cb("early"), Cb("lambda"))),)),
    Program(
        "registry-asked-in-train-begin",
        actions=(Fit(iterations=7, accumulation=2, callbacks=(Cb("registry", options(at="train_begin")),)),),
    ),
    Program(
        "registry-listed", actions=(Fit(1, callbacks=(Cb("list_registered"), Cb("early"), Cb("nan"), *_FIVE_ORDERS)),)
    ),
    Program(
        "gradient-hooks-asked-for",
        optimizer="adam",
        actions=(Fit(2, accumulation=2, callbacks=(Cb("scale_gradient"), *_FIVE_ORDERS[:1])),),
        smoke=True,
    ),
    Program("gradient-hooks-not-asked-for", actions=_one("silent_gradient")),
    Program(
        "gradient-hooks-asked-for-by-another",
        actions=(Fit(2, callbacks=(Cb("silent_gradient"), Cb("clip_norm", options(max_grad_norm=0.1)))),),
    ),
    Program(
        "gradient-hooks-stay-for-later-fits",
        actions=(*_one("scale_gradient", epochs=1), Fit(3, callbacks=(Cb("silent_gradient"),))),
    ),
    Program(
        "clips-twice",
        optimizer="adam",
        actions=(
            Fit(
                2,
                callbacks=(Cb("clip_value", options(max_grad_value=0.1)), Cb("clip_norm", options(max_grad_norm=0.1))),
            ),
        ),
    ),
    Program("clips-with-unknown-option", actions=_one("clip_norm", max_grad_norm=0.1, unknown=True)),
    Program(
        "clips-with-infinity-norm",
        model="cnn",
        data=Data(kind="images"),
        criterion="cross_entropy",
        actions=(
            Fit(2, accumulation=3, callbacks=(Cb("clip_norm", options(max_grad_norm=0.1, norm_type=float("inf"))),)),
        ),
    ),
    Program(
        "function-at-every-hook",
        actions=_one(
            "function",
            epochs=2,
            tl_registration=True,
            epoch_begin=True,
            epoch_end=True,
            train_begin=True,
            train_end=True,
            batch_begin=True,
            batch_end=True,
            after_gradient_update=True,
            after_optimizer_step=True,
            order=-3,
        ),
        smoke=True,
    ),
    Program("function-hook-on-instance", actions=_one("function_hook")),
    Program(
        "reports-performance",
        recorders="none",
        actions=(
            Fit(
                2,
                callbacks=(
                    Cb("write", options(metric="m")),
                    Cb("write", options(at="train_end", metric="train_end_m")),
                    Cb("report", options(metrics=("m",))),
                ),
            ),
        ),
    ),
    Program(
        "renames-metric",
        actions=_one("rename", input_metric_path="loss", new_metric_name="renamed"),
    ),
    Program("formats-history", actions=_one("formatter")),
    Program(
        "call-order-of-predict-then-evaluate",
        model="metadata",
        actions=(
            Fit(1),
            Call("predict_on_validation_set"),
            Call("evaluate_loss_on_validation_set"),
            Call("predict_on_validation_set"),
        ),
    ),
)
