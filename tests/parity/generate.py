"""A covering set of programs: every pair of axis values that may meet does meet in some program.

The set is made greedily with a private seeded generator, so it is the same on every machine and Python version
(``random.Random`` keeps its sequence for ``random()``, which is the only method used here).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from tests.parity.spec import Cb, Data, Fit, Options, Program, options, with_loaders_restored

AXES: dict[str, tuple[str, ...]] = {
    "model": (
        "mlp",
        "cnn",
        "dropout",
        "batch_norm",
        "metadata",
        "metadata_dropout",
        "eval_loss",
        "buffered",
        "multi_gpu",
        "wrapped",
        "feed",
        "drawing",
    ),
    "data": ("synthetic", "real", "noisy", "reversed", "noise", "list", "generator", "weighted"),
    "optimizer": ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "duck", "groups"),
    "order": ("plain", "shuffle", "plain_drop", "shuffle_drop"),
    "sets": ("none", "val", "test", "both"),
    "length": ("1", "2", "3", "it4", "it9", "it10"),
    "window": ("1", "2", "3", "4"),
    "auto": ("True", "False", "1", "2", "3"),
    "callback": (
        "none",
        "early",
        "early_accumulated",
        "threshold",
        "nan",
        "same",
        "subset",
        "function",
        "clip_value",
        "clip_norm",
        "stats",
        "orders",
        "gradient",
        "messages",
        "ask",
    ),
    "scheduler": (
        "none",
        "step",
        "multistep",
        "general",
        "lambda_epoch",
        "lambda_batch",
        "plateau",
        "plateau_metric",
        "warm_constant",
        "warm_linear",
        "warm_cosine",
        "warm_restarts",
    ),
    "again": ("once", "once", "same", "more", "fewer", "iterations", "thrice"),
    "recorders": ("both", "epoch", "none"),
}

Row = dict[str, str]
Choice = tuple[str, str]
Pair = tuple[Choice, Choice]

_REAL_SETS = {"cnn": "images", "feed": "wine", "metadata": "digits", "mlp": "diabetes", "batch_norm": "wine"}


def allowed(row: Row) -> bool:
    """Whether the chosen values make a program that can be built and has something to say."""
    if row.get("optimizer") == "duck" and row.get("scheduler", "none") != "none":
        return False
    if row.get("model") == "cnn" and row.get("data") in ("noisy",):
        return False
    if row.get("data") in ("list", "weighted") and row.get("order", "plain") not in ("plain", "shuffle"):
        return False
    needs_val = row.get("callback") in ("early", "same") or row.get("scheduler") == "plateau"
    if needs_val and row.get("sets") in ("none", "test"):
        return False
    needs_losses = row.get("callback") == "early" or row.get("scheduler") == "plateau_metric"
    if needs_losses and row.get("auto") == "False":
        return False
    # The number of epochs of an iteration target is quirk Q03 when a callback shortens the loader; see the specials.
    counted = row.get("length", "1").startswith("it") or row.get("again") == "iterations"
    return not (row.get("callback") == "subset" and counted)


def _pair(one: Choice, two: Choice) -> Pair:
    return (one, two) if one < two else (two, one)


def _gain(row: Row, new: Choice, missing: set[Pair]) -> int:
    return sum(_pair(new, chosen) in missing for chosen in row.items())


def all_pairs() -> set[Pair]:
    """Every pair of values of two axes that is allowed on its own."""
    return {
        _pair((one, first), (two, second))
        for (one, firsts), (two, seconds) in itertools.combinations(AXES.items(), 2)
        for first, second in itertools.product(firsts, seconds)
        if allowed({one: first, two: second})
    }


def _shuffled(values: tuple[str, ...], draw: random.Random) -> list[str]:
    return sorted(dict.fromkeys(values), key=lambda value: (draw.random(), value))


def rows(seed: int = 18, limit: int = 400) -> list[Row]:
    """Rows of axis values that cover all allowed pairs, greedily, at most ``limit`` of them."""
    draw = random.Random(seed)
    missing = all_pairs()
    made: list[Row] = []
    while missing and len(made) < limit:
        first = min(missing)
        row: Row = dict(first)
        for name in _shuffled(tuple(AXES), draw):
            if name in row:
                continue
            fitting = [value for value in _shuffled(AXES[name], draw) if allowed({**row, name: value})]
            if fitting:
                gains = [_gain(row, (name, value), missing) for value in fitting]
                row[name] = fitting[gains.index(max(gains))]
        if len(row) == len(AXES):
            made.append({name: row[name] for name in AXES})
            missing -= {_pair(one, two) for one, two in itertools.combinations(row.items(), 2)}
        # A pair whose program would need a value that is not allowed beside it cannot be covered.
        missing.discard(first)
    return made


def _data(row: Row, index: int) -> Data:
    kind = {"real": _REAL_SETS.get(row["model"], "diabetes"), "noisy": "noisy"}.get(row["data"], "regression")
    if row["model"] == "cnn":
        kind = "images"
    sets = {"none": (), "val": ("val",), "test": ("test",), "both": ("val", "test")}[row["sets"]]
    return Data(
        kind=kind,
        rows=(18, 22, 23)[index % 3],
        batch=(4, 5, 6)[index % 3],
        shuffle=row["order"].startswith("shuffle"),
        drop_last=row["order"].endswith("drop"),
        form=row["data"] if row["data"] in ("list", "generator", "weighted") else "loader",
        collate=row["data"] if row["data"] in ("reversed", "noise") else "",
        sets=sets,
    )


def _callbacks(row: Row, data: Data) -> tuple[Cb, ...]:
    monitor = "val_loss" if "val" in data.sets and row["auto"] == "True" else "accumulated_loss"
    ask = ["predict_on_train_set", "evaluate_loss_on_train_set"]
    ask += ["predict_on_validation_set"] if "val" in data.sets else []
    table: dict[str, tuple[Cb, ...]] = {
        "none": (),
        "early": (Cb("early", options(patience=0)),),
        "early_accumulated": (Cb("early", options(monitor="accumulated_loss", min_delta=0.05, patience=1)),),
        "threshold": (Cb("threshold", options(monitor=monitor, threshold=0.9, patience=1)),),
        "nan": (Cb("nan", options(monitor="accumulated_loss")),),
        "same": (Cb("same", options(value=0.5, stop_training=True)),),
        "subset": (Cb("subset", options(num_train_batches=2, num_val_batches=int("val" in data.sets))),),
        "function": (Cb("function", options(epoch_end=True, batch_end=True, after_optimizer_step=True)),),
        "clip_value": (Cb("clip_value", options(max_grad_value=0.05)),),
        "clip_norm": (Cb("clip_norm", options(max_grad_norm=0.2)),),
        "stats": (Cb("clip_norm", options(max_grad_norm=0.5, norm_type=1.0)), Cb("stats", options(every=True))),
        "orders": (Cb("order", options(name="late", order=7)), Cb("order", options(name="early", order=-7))),
        "gradient": (Cb("scale_gradient"), Cb("order", options(name="beside"))),
        "messages": (
            Cb("message", options(at="batch_begin", how=("OVERWRITE",))),
            Cb("message", options(at="epoch_begin", topic="other")),
            Cb("read", options(at="epoch_end", topic="news")),
        ),
        "ask": (Cb("ask", options(at="epoch_end", methods=tuple(ask))),),
    }
    return table[row["callback"]]


def _scheduler(row: Row, index: int) -> tuple[Cb, ...]:
    steps = 2 + index % 3
    table: dict[str, tuple[Cb, ...]] = {
        "none": (),
        "step": (Cb("step", options(step_size=1, gamma=0.5)),),
        "multistep": (Cb("multistep", options(milestones_list=(1, 2), gamma=0.3)),),
        "general": (Cb("general", options(gamma=0.8)),),
        "lambda_epoch": (Cb("lambda"),),
        "lambda_batch": (Cb("lambda", options(batch=True, epoch=index % 2 == 0)),),
        "plateau": (Cb("plateau", options(patience=0, factor=0.5)),),
        "plateau_metric": (Cb("plateau_metric", options(metric_name="loss", patience=0, factor=0.5)),),
        "warm_constant": (Cb("warm_constant", options(num_warmup_steps=steps)),),
        "warm_linear": (Cb("warm_linear", options(num_warmup_steps=steps, num_training_steps=9)),),
        "warm_cosine": (Cb("warm_cosine", options(num_warmup_steps=steps, num_training_steps=8)),),
        "warm_restarts": (Cb("warm_restarts", options(num_warmup_steps=steps, num_training_steps=10, num_cycles=2.0)),),
    }
    return table[row["scheduler"]]


def _fit(length: str, window: int, callbacks: tuple[Cb, ...] = ()) -> Fit:
    count = int(length.removeprefix("it"))
    if length.startswith("it"):
        return Fit(iterations=count, accumulation=window, callbacks=callbacks)
    return Fit(epochs=count, accumulation=window, callbacks=callbacks)


def _actions(row: Row, callbacks: tuple[Cb, ...]) -> tuple[Fit, ...]:
    window = int(row["window"])
    first = _fit(row["length"], window, callbacks)
    count = int(row["length"].removeprefix("it"))
    again: dict[str, Callable[[], tuple[Fit, ...]]] = {
        "once": lambda: (),
        "same": lambda: (_fit(row["length"], window),),
        "more": lambda: (_fit(row["length"].replace(str(count), str(count + 2)), 1 + window % 2),),
        "fewer": lambda: (Fit(epochs=1),),
        "iterations": lambda: (Fit(iterations=12, accumulation=window),),
        "thrice": lambda: (Fit(epochs=3, callbacks=(Cb("order", options(name="added", order=1)),)), Fit(epochs=4)),
    }
    return (first, *again[row["again"]]())


def _program(row: Row, index: int) -> Program:
    data = _data(row, index)
    classes = data.kind in ("images", "digits", "wine")
    callbacks = (*_callbacks(row, data), *_scheduler(row, index))
    words = [row[name] for name in ("model", "optimizer", "callback", "scheduler", "data", "length", "again")]
    tail = [f"w{row['window']}", f"auto{row['auto']}"]
    if row["callback"] == "same" and classes:
        callbacks = callbacks[1:]  # rows of several scores cannot be compared with one value
    loop_options: Options = options(print_callbacks=True) if index % 11 == 0 else ()
    program = Program(
        id=f"g{index:03d}-" + "-".join([*words, *tail]),
        model=row["model"],
        data=data,
        optimizer=row["optimizer"],
        criterion="cross_entropy" if classes else ("mse", "l1", "movable")[index % 3],
        auto_eval=row["auto"] == "True" if row["auto"] in ("True", "False") else int(row["auto"]),
        loop_options=loop_options,
        recorders=row["recorders"],
        actions=_actions(row, callbacks),
        seed=1000 + index,
        smoke=index % 16 == 0,
    )
    if row["callback"] == "subset":
        return with_loaders_restored(program)
    if row["callback"] == "stats":
        return replace(program, corrected=("Q75",), correction="gradients_at_epoch_end")
    return program


def generated() -> tuple[Program, ...]:
    """All generated programs, in a fixed order."""
    return tuple(_program(row, index) for index, row in enumerate(rows()))
