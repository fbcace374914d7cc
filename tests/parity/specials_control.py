"""Hand-written programs: how long a training lasts, and what a second call finds."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.spec import Call, Cb, Data, Do, Fit, Program, options

_LIST = Cb("order", options(name="list"))
_PARALLEL_LOSSES = Program(
    "data-parallel-several-losses",
    model="multi",
    model_options=options(listed=True),
    optimizer="multi",
    optimizer_options=options(kinds=("sgd", "adam")),
    loop_options=options(gpu_mode="dp"),
    actions=(Fit(2, accumulation=2), Fit(3)),
)

CONTROL: tuple[Program, ...] = (
    Program("fit2-fit2", optimizer="adam", actions=(Fit(2), Fit(2)), smoke=True),
    Program("fit2-fit4", optimizer="adam", actions=(Fit(2), Fit(4)), smoke=True),
    Program("fit2-fit1", optimizer="momentum", actions=(Fit(2), Fit(1))),
    Program("fit1-fit3-fit2-fit4", optimizer="rmsprop", actions=(Fit(1), Fit(3), Fit(2), Fit(4))),
    Program("iterations4-twice", actions=(Fit(iterations=4), Fit(iterations=4)), smoke=True),
    Program(
        "iterations4-then-6",
        data=Data(rows=12, batch=4),
        optimizer="adamw",
        actions=(Fit(iterations=4), Fit(iterations=5), Fit(iterations=5)),
    ),
    Program("epochs1-then-iterations7", optimizer="adam", actions=(Fit(1), Fit(iterations=7))),
    Program("iterations-exactly-one-epoch", actions=(Fit(iterations=5), Fit(iterations=10))),
    Program("iterations-one", actions=(Fit(iterations=1),)),
    Program(
        "iterations-stop-in-window-then-fit",
        optimizer="momentum",
        actions=(Fit(iterations=3, accumulation=2), Fit(2, accumulation=2)),
        smoke=True,
    ),
    Program(
        "iterations-stop-in-window-then-smaller-window",
        optimizer="adam",
        actions=(Fit(iterations=7, accumulation=4), Fit(3)),
    ),
    Program("window-longer-than-epoch", optimizer="momentum", actions=(Fit(2, accumulation=10),)),
    Program("window-float", actions=(Fit(2, accumulation=2.0),)),
    Program("window-3-of-7-batches", data=Data(rows=28, batch=4), optimizer="adam", actions=(Fit(2, accumulation=3),)),
    Program(
        "early-stop-then-fit",
        optimizer="adam",
        actions=(
            Fit(6, callbacks=(Cb("early", options(monitor="accumulated_loss", patience=-1)),)),
            Fit(5),
            Fit(5),
        ),
        smoke=True,
    ),
    Program(
        "early-stop-cleared-by-hand",
        actions=(
            Fit(5, callbacks=(Cb("stop", options(at="batch_end", when=6, counted_by="total_iteration_idx")),)),
            Do("set", options(early_stop=False)),
            Fit(3),
        ),
    ),
    Program("early-stop-set-before-fit", actions=(Do("set", options(early_stop=True)), Fit(3))),
    Program(
        "early-stop-in-first-batch",
        optimizer="rmsprop",
        actions=(Fit(3, callbacks=(Cb("stop", options(at="batch_begin", when=0, counted_by="iteration")),)),),
    ),
    Program(
        "early-stop-beats-iteration-line",
        actions=(
            Fit(
                iterations=8, callbacks=(Cb("stop", options(at="batch_end", when=7, counted_by="total_iteration_idx")),)
            ),
        ),
    ),
    Program(
        "early-stop-in-train-begin",
        actions=(Fit(3, callbacks=(Cb("stop", options(at="train_begin")),)), Fit(2)),
    ),
    Program(
        "same-callback-twice-in-two-fits",
        actions=(
            Fit(2, callbacks=(Cb("step", options(step_size=1, gamma=0.5), key="a"), _LIST)),
            Fit(4, callbacks=(Cb("step", options(step_size=1, gamma=0.5), key="a"),)),
        ),
        smoke=True,
    ),
    Program(
        "same-callback-twice-in-one-list",
        actions=(
            Fit(
                2,
                callbacks=(
                    Cb("order", options(name="twice", order=3), key="a"),
                    Cb("order", options(name="twice", order=3), key="a"),
                ),
            ),
        ),
    ),
    Program(
        "same-warmup-twice",
        optimizer="adam",
        actions=(
            Fit(1, callbacks=(Cb("warm_linear", options(num_warmup_steps=2, num_training_steps=12), key="a"),)),
            Fit(3, callbacks=(Cb("warm_linear", options(num_warmup_steps=2, num_training_steps=12), key="a"),)),
        ),
    ),
    Program("earlier-callbacks-still-fire", actions=(Fit(1, callbacks=(_LIST,)), Fit(2), Fit(3, callbacks=(_LIST,)))),
    Program("called-like-a-function", optimizer="adam", actions=(Fit(2, via="call", callbacks=(_LIST,)),)),
    Program(
        "epoch-moved-in-train-begin",
        actions=(Fit(4, callbacks=(Cb("set", options(at="train_begin", attribute="epoch", value=2)),)), Fit(5)),
    ),
    Program(
        "epoch-moved-at-registration",
        actions=(Fit(3, callbacks=(Cb("set", options(at="registration", attribute="epoch", value=1)),)),),
    ),
    Program(
        "no-epoch-left-after-resume",
        actions=(Fit(2, callbacks=(Cb("set", options(at="registration", attribute="epoch", value=2)), _LIST)),),
    ),
    Program("both-lengths", actions=(Fit(1, 5),), epilogue=False),
    Program("no-length", actions=(Fit(), Fit(2))),
    # Without callbacks: ours refuses before it registers any, the reference after.
    Program("float-epochs", recorders="none", actions=(Fit(2.0),), epilogue=False),
    Program("callback-of-wrong-type", actions=(Fit(1, callbacks=(_LIST, Cb("not_a_callback"))), Fit(1))),
    Program("wrong-gpu-mode", loop_options=options(gpu_mode="tpu")),
    Program("bare-module-as-model", model="bare_module"),
    Program("amp-asked-for-on-cpu", optimizer="adam", loop_options=options(use_amp=True), actions=(Fit(2),)),
    Program(
        "amp-with-clipping",
        loop_options=options(use_amp=True),
        actions=(Fit(2, accumulation=2, callbacks=(Cb("clip_norm", options(max_grad_norm=0.3)),)),),
    ),
    Program(
        "data-parallel",
        optimizer="adam",
        loop_options=options(gpu_mode="dp"),
        actions=(Fit(2),),
        smoke=True,
    ),
    Program(
        "data-parallel-twice",
        loop_options=options(gpu_mode="dp"),
        actions=(Fit(1), Fit(3, accumulation=2)),
    ),
    Program("data-parallel-feed", model="feed", loop_options=options(gpu_mode="dp"), optimizer="momentum"),
    Program("data-parallel-buffers", model="buffered", loop_options=options(gpu_mode="dp"), actions=(Fit(2),)),
    Program(
        "data-parallel-eval-loss",
        model="eval_loss",
        optimizer="adam",
        loop_options=options(gpu_mode="dp"),
        actions=(Fit(iterations=7, accumulation=3), Call("evaluate_loss_on_test_set"), Fit(3)),
    ),
    Program("data-parallel-attributes", model="transferring", loop_options=options(gpu_mode="dp")),
    Program("data-parallel-loss-in-forward", model="multi_gpu", loop_options=options(gpu_mode="dp")),
    _PARALLEL_LOSSES,
    replace(
        _PARALLEL_LOSSES,
        id="data-parallel-unlisted-attributes",
        model_options=(),
        corrected=("Q65",),
        stand_in=_PARALLEL_LOSSES,
    ),
    Program(
        "data-parallel-clipping",
        model="metadata_batch_norm",
        loop_options=options(gpu_mode="dp"),
        actions=(Fit(2, callbacks=(Cb("clip_norm", options(max_grad_norm=0.3)), _LIST)),),
    ),
    Program("auto-eval-not-quite-true", auto_eval=1.0, actions=(Fit(2),)),
    Program("auto-eval-word", auto_eval="yes", actions=(Fit(2),)),
    Program("auto-eval-none", auto_eval=None, actions=(Fit(2),)),
    Program("auto-eval-minus-one", auto_eval=-1, actions=(Fit(3),)),
    Program("auto-eval-2-over-two-fits", auto_eval=2, optimizer="adam", actions=(Fit(3), Fit(6))),
    Program(
        "auto-eval-set-between-fits",
        actions=(
            Fit(1),
            Do("set", options(end_auto_eval=False)),
            Fit(3),
            Do("set", options(end_auto_eval=True)),
            Fit(4),
        ),
    ),
    Program(
        "exception-in-batch-then-call",
        optimizer="adam",
        actions=(
            Fit(1),
            Call("evaluate_loss_on_train_set"),
            Fit(3, callbacks=(Cb("raise", options(at="epoch_begin", when=2, kind="error")),)),
            Fit(4),
        ),
        smoke=True,
    ),
    Program(
        "interrupt-in-epoch-end",
        actions=(Fit(3, callbacks=(Cb("raise", options(at="epoch_end", when=1, kind="interrupt")),)), Fit(3)),
    ),
    Program(
        "stop-iteration-raised-in-hook",
        actions=(Fit(3, callbacks=(Cb("raise", options(at="epoch_end", when=1, kind="exit")),)), Fit(3)),
    ),
    Program(
        "exception-in-train-begin",
        actions=(Fit(2, callbacks=(Cb("raise", options(at="train_begin", kind="error")),)), Fit(2)),
    ),
    Program(
        "exception-in-train-end",
        actions=(Fit(2, callbacks=(Cb("raise", options(at="train_end", kind="error")),)), Fit(3)),
    ),
    Program("nan-loss-stops", criterion="nan", actions=(Fit(4, callbacks=(Cb("nan"), _LIST)), Fit(4))),
    Program("nan-loss-goes-on", criterion="nan", optimizer="adam", actions=(Fit(3),)),
    Program(
        "nan-with-early-stopping",
        criterion="nan",
        actions=(Fit(6, callbacks=(Cb("early", options(patience=1)),)),),
    ),
    Program(
        "seeded-between-fits",
        model="dropout",
        optimizer="adam",
        actions=(Do("seed", options(seed=5)), Fit(1), Do("seed", options(seed=5)), Fit(3)),
    ),
    Program("weights-edited-between-fits", actions=(Fit(1), Do("shift_weights", options(by=0.25)), Fit(3))),
)
