"""Hand-written programs: several losses and several optimizers."""

from __future__ import annotations

from typing import Any

from tests.parity.spec import Cb, Data, Fit, Options, Program, options

_TWO: Options = options(kinds=("sgd", "adam"))
_THREE: Options = options(kinds=("sgd", "momentum", "adam"))
_ABC: Options = options(names=("a", "b", "c"))
_SWAPPED: Options = options(mapping=(("first", 1), ("second", 0)))
_SHARED: Options = options(trunk=True)


def _multi(
    name: str, model_options: Options = (), optimizer_options: Options = _TWO, *fits: Fit, **more: Any
) -> Program:
    settings: dict[str, Any] = {"actions": fits or (Fit(2), Fit(3)), "optimizer": "multi"}
    return Program(
        f"multi-{name}",
        model="multi",
        model_options=model_options,
        optimizer_options=optimizer_options,
        **{**settings, **more},
    )


LOSSES: tuple[Program, ...] = (
    _multi("two", smoke=True),
    _multi("two-window", (), _TWO, Fit(2, accumulation=2), Fit(iterations=14, accumulation=3)),
    _multi("two-no-retain", options(retain=False)),
    _multi("three", _ABC, _THREE, smoke=True),
    _multi(
        "three-mapped",
        options(names=("a", "b", "c"), mapping=(("a", 2), ("b", 0), ("c", 1))),
        options(kinds=("sgd", "momentum", "adam"), branches=(2, 0, 1)),
    ),
    _multi("two-mapped-swapped", _SWAPPED, options(kinds=("sgd", "adam"), branches=(1, 0)), Fit(2), smoke=True),
    _multi("two-mapped-to-the-wrong-optimizer", _SWAPPED, _TWO, Fit(2)),
    _multi("map-too-short", options(mapping=(("first", 0),)), _TWO, Fit(1), epilogue=False),
    _multi("trunk-of-last-leaks", _SHARED, _TWO, Fit(3), smoke=True),
    _multi("trunk-of-last-window", _SHARED, _TWO, Fit(2, accumulation=2), Fit(3, accumulation=2)),
    _multi("trunk-of-last-no-retain", options(trunk=True, retain=False), _TWO, Fit(1), epilogue=False),
    _multi("trunk-of-first", _SHARED, options(kinds=("sgd", "adam"), owner=0), Fit(2)),
    _multi("one-optimizer-for-two", (), options(), Fit(2), optimizer="adam"),
    _multi("one-optimizer-for-two-window", _SHARED, options(), Fit(2, accumulation=2), optimizer="momentum"),
    _multi("two-optimizers-for-three", _ABC, _TWO, Fit(2)),
    _multi("two-with-criterion-none", (), _TWO, Fit(2), criterion="none"),
    _multi("two-clip", (), _TWO, Fit(2, callbacks=(Cb("clip_norm", options(max_grad_norm=0.2)),)), smoke=True),
    _multi(
        "two-clip-trunk-window",
        _SHARED,
        _TWO,
        Fit(2, accumulation=2, callbacks=(Cb("clip_value", options(max_grad_value=0.05)),)),
    ),
    _multi(
        "two-gradient-hooks", (), _TWO, Fit(2, callbacks=(Cb("scale_gradient"), Cb("order", options(name="beside"))))
    ),
    _multi(
        "two-step-of-second",
        (),
        _TWO,
        Fit(3, callbacks=(Cb("step", options(step_size=1, gamma=0.5, optimizer_idx=1)),)),
    ),
    _multi(
        "two-warmup-of-first",
        (),
        _TWO,
        Fit(2, callbacks=(Cb("warm_linear", options(num_warmup_steps=2, num_training_steps=9, optimizer_idx=0)),)),
    ),
    _multi("two-step-without-index", (), _TWO, Fit(1, callbacks=(Cb("step", options(step_size=1)),))),
    _multi("two-plateau", (), _TWO, Fit(3, callbacks=(Cb("plateau", options(patience=0, optimizer_idx=0)),))),
    _multi(
        "two-plateau-of-named-loss",
        (),
        _TWO,
        Fit(3, callbacks=(Cb("plateau", options(main_multi_loss="second", patience=0, optimizer_idx=1)),)),
    ),
    _multi(
        "two-plateau-of-unknown-loss",
        (),
        _TWO,
        Fit(1, callbacks=(Cb("plateau", options(main_multi_loss="third", optimizer_idx=1)),)),
    ),
    _multi(
        "two-early-on-one-loss",
        (),
        _TWO,
        Fit(5, callbacks=(Cb("early", options(monitor="val_loss_first", min_delta=0.3)),)),
    ),
    _multi("two-auto-eval-2", (), _TWO, Fit(4), auto_eval=2),
    _multi("two-no-auto-eval", (), _TWO, Fit(2), auto_eval=False),
    _multi("two-no-sets", (), _TWO, Fit(2), data=Data(sets=()), recorders="none"),
    _multi("two-verbs", (), _TWO, Fit(2, accumulation=2), loop="verbs", smoke=True),
    _multi("two-last-loss", (), _TWO, Fit(2), loop="last_loss"),
    _multi("two-prefixed-save", (), _TWO, Fit(2), loop="prefixed_save"),
    _multi("two-stream", (), _TWO, Fit(2), data=Data(form="stream")),
    _multi("two-list", _SHARED, _TWO, Fit(2), data=Data(form="list")),
    _multi(
        "two-stop-by-exception",
        (),
        _TWO,
        Fit(2, callbacks=(Cb("raise", options(at="epoch_begin", when=1, kind="error")),)),
        Fit(3),
    ),
)
