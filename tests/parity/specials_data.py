"""Hand-written programs: loaders of every form, real data, models of every kind."""

from __future__ import annotations

from tests.parity.spec import Call, Cb, Data, Do, Fit, Program, options, with_loaders_restored

_DIGITS = Data(kind="digits", rows=40, batch=8)
_WINE = Data(kind="wine", rows=35, batch=7)
_DIABETES = Data(kind="diabetes", rows=36, batch=8)
_SUBSET = Cb("subset", options(num_train_batches=2, num_val_batches=1, num_test_batches=1))

DATA: tuple[Program, ...] = (
    Program(
        "digits-adam-clip-cosine",
        data=_DIGITS,
        criterion="cross_entropy",
        optimizer="adam",
        actions=(
            Fit(
                3,
                callbacks=(
                    Cb("clip_norm", options(max_grad_norm=0.5)),
                    Cb("warm_cosine", options(num_warmup_steps=3, num_training_steps=15)),
                ),
            ),
        ),
        smoke=True,
    ),
    Program(
        "digits-metadata-early-stopping",
        model="metadata_dropout",
        data=_DIGITS,
        criterion="cross_entropy",
        optimizer="momentum",
        actions=(Fit(5, accumulation=2, callbacks=(Cb("early", options(min_delta=0.2)),)),),
    ),
    Program(
        "wine-batch-norm-plateau",
        model="batch_norm",
        data=_WINE,
        criterion="cross_entropy",
        optimizer="momentum",
        actions=(Fit(4, callbacks=(Cb("plateau", options(patience=0, factor=0.1)),)),),
        smoke=True,
    ),
    Program("wine-feed-two-fits", model="feed", data=_WINE, criterion="cross_entropy", actions=(Fit(2), Fit(3))),
    Program(
        "diabetes-nesterov-multistep",
        data=_DIABETES,
        optimizer="nesterov",
        actions=(Fit(4, callbacks=(Cb("multistep", options(milestones_list=(1, 3))),)),),
    ),
    Program("diabetes-adamw-huber-own-loss", model="eval_loss", data=_DIABETES, criterion="none", optimizer="adamw"),
    Program("diabetes-linear-weighted", model="linear", data=_DIABETES, criterion="weighted", optimizer="adam"),
    Program("list-loaders", data=Data(form="list"), optimizer="adam", actions=(Fit(2), Fit(3)), smoke=True),
    Program("list-loaders-iterations-window", data=Data(form="list"), actions=(Fit(iterations=7, accumulation=2),)),
    Program("stream-loader", data=Data(form="stream"), optimizer="momentum", actions=(Fit(2), Fit(3)), smoke=True),
    Program("own-generator", data=Data(form="generator"), optimizer="adam", actions=(Fit(2), Fit(4)), smoke=True),
    Program("own-generator-no-eval", data=Data(form="generator"), auto_eval=False, actions=(Fit(3),)),
    Program("weighted-sampler", data=Data(form="weighted"), optimizer="adam", actions=(Fit(2), Fit(3))),
    Program("batch-sampler", data=Data(form="batch_sampler"), optimizer="rmsprop", actions=(Fit(2, accumulation=2),)),
    Program("worker-process", data=Data(kind="noisy", form="worker"), actions=(Fit(1),), epilogue=False),
    Program(
        "noisy-data-all-generators", data=Data(kind="noisy"), optimizer="adam", actions=(Fit(2), Fit(3)), smoke=True
    ),
    Program("noisy-data-no-eval", data=Data(kind="noisy"), auto_eval=False, recorders="none", actions=(Fit(3),)),
    Program("collate-noise-drop-last", data=Data(collate="noise", drop_last=True), optimizer="adam"),
    Program("collate-mapping", model="metadata", data=Data(collate="mapping"), optimizer="momentum", smoke=True),
    Program("collate-reversed-window", data=Data(collate="reversed"), actions=(Fit(2, accumulation=3),)),
    Program("drop-last-everything-but-one", data=Data(rows=9, batch=8, drop_last=True), actions=(Fit(3),)),
    Program("batch-of-one", data=Data(rows=4, batch=1), optimizer="adam"),
    Program("one-batch-an-epoch", data=Data(rows=6, batch=6), actions=(Fit(3, accumulation=2),)),
    Program("shuffled-eval-changes-order", data=Data(sets=()), actions=(Fit(3),)),
    Program("shuffled-without-eval", data=Data(sets=()), auto_eval=False, actions=(Fit(3),)),
    Program("nothing-attached", recorders="none", data=Data(sets=()), optimizer="adam", actions=(Fit(3),), smoke=True),
    Program("nothing-attached-no-eval", recorders="none", data=Data(sets=()), auto_eval=False, actions=(Fit(3),)),
    Program(
        "nothing-attached-window", recorders="none", optimizer="momentum", actions=(Fit(2, accumulation=3), Fit(3))
    ),
    Program("nothing-attached-iterations", recorders="none", optimizer="adamw", actions=(Fit(iterations=8),)),
    Program("metadata-for-some-batches", model="maybe_metadata", optimizer="adam"),
    Program("drawing-in-the-loss", model="drawing", optimizer="adam", actions=(Fit(2), Fit(3)), smoke=True),
    Program("buffers-and-frozen-layer", model="buffered", optimizer="adam", actions=(Fit(2), Fit(3))),
    Program("float-loss", model="float_loss", actions=(Fit(1), Fit(1)), epilogue=False),
    Program("vector-loss", criterion="vector", actions=(Fit(1),), epilogue=False),
    Program("criterion-with-parameters", criterion="weighted", optimizer="adam", actions=(Fit(2), Fit(3)), smoke=True),
    Program("criterion-not-a-module", criterion="movable", optimizer="adam"),
    Program("criterion-none", model="metadata", criterion="none", optimizer="adam", smoke=True),
    Program("criterion-none-for-basic-model", criterion="none", actions=(Fit(1),), epilogue=False),
    Program(
        "criterion-changed-between-fits",
        actions=(Fit(1), Do("criterion", options(name="l1")), Call("evaluate_loss_on_train_set"), Fit(3)),
    ),
    Program("duck-optimizer-window", optimizer="duck", actions=(Fit(2, accumulation=2), Fit(3)), smoke=True),
    Program(
        "duck-optimizer-clip",
        optimizer="duck",
        actions=(Fit(2, callbacks=(Cb("clip_value", options(max_grad_value=0.01)),)),),
    ),
    Program("no-optimizer", optimizer="none", actions=(Fit(1),), epilogue=False),
    Program(
        "one-optimizer-in-a-multi",
        optimizer="multi_of_one",
        actions=(Fit(2, accumulation=2, callbacks=(Cb("step", options(step_size=1, optimizer_idx=0)),)), Fit(3)),
    ),
    with_loaders_restored(
        Program("subset-run", optimizer="adam", actions=(Fit(3, callbacks=(_SUBSET,)), Fit(5)), smoke=True)
    ),
    with_loaders_restored(Program("subset-run-window", actions=(Fit(2, accumulation=2, callbacks=(_SUBSET,)),))),
    Program("subset-of-missing-loader", data=Data(sets=()), actions=(Fit(1, callbacks=(_SUBSET,)),)),
    Program(
        "loaders-swapped-in-train-begin",
        optimizer="adam",
        actions=(Fit(2, callbacks=(Cb("swap", options(at="train_begin", rows=14)),)), Fit(3)),
        smoke=True,
    ),
    Program(
        "validation-swapped-in-train-begin",
        actions=(Fit(2, callbacks=(Cb("swap", options(at="train_begin", attribute="validation_loader")),)),),
    ),
    Program(
        "loaders-swapped-between-epochs",
        actions=(Fit(4, callbacks=(Cb("swap", options(at="epoch_end", when=1, rows=11)),)),),
    ),
    Program(
        "loaders-swapped-in-epoch-begin",
        optimizer="momentum",
        actions=(Fit(3, callbacks=(Cb("swap", options(at="epoch_begin", when=1, rows=11)),)),),
    ),
    Program(
        "loader-swapped-in-mid-epoch",
        actions=(Fit(3, callbacks=(Cb("swap", options(at="batch_begin", when=1, counted_by="iteration", rows=11)),)),),
    ),
    Program(
        "loader-swapped-for-list",
        actions=(Fit(2, callbacks=(Cb("swap", options(at="train_begin", form="list")),)), Fit(3)),
    ),
    Program(
        "loader-swapped-by-hand",
        actions=(Fit(1), Do("loader", options(attribute="train_loader", split="other")), Fit(3)),
    ),
)
