"""Programs on which the reference is wrong: what must come out instead, and by which quirk id.

Most of them have a stand-in: the same training with the quirk stepped around, so that the expected values come from the
reference itself. See ``corrections`` for the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.parity.spec import Action, Call, Cb, Data, Do, Fit, Options, Program, options, with_loaders_restored

_TWO: Options = options(kinds=("sgd", "adam"))
_THREE: Options = options(kinds=("sgd", "momentum", "adam"))


def _with(program: Program, quirk: str, *, switchable: bool = False, correction: str = "", **stand_in: Any) -> Program:
    """``program`` as one that corrects ``quirk``; ``stand_in`` are the fields in which its stand-in differs."""
    other = replace(program, **stand_in) if stand_in else None
    return replace(program, corrected=(quirk,), correction=correction, stand_in=other, switchable=switchable)


def _mislabelled(name: str, names: tuple[str, ...], kinds: Options, *fits: Action, **more: Any) -> Program:
    """Q41: loss names that are not inserted in alphabetical order."""
    program = Program(
        f"corrected-labels-{name}",
        model="multi",
        model_options=options(names=names),
        optimizer="multi",
        optimizer_options=kinds,
        actions=fits,
        **more,
    )
    return _with(program, "Q41", switchable=True, model_options=options(names=names, tidy=True))


def _refused(name: str, quirk: str, fit: Fit, **more: Any) -> Program:
    """A call that is refused before it changes anything; the stand-in is a call that the reference refuses so, too."""
    program = Program(f"refused-{name}", actions=(fit,), epilogue=False, **more)
    return _with(program, quirk, correction="refused", actions=(Fit(),))


def _refused_late(name: str, quirk: str, fit: Fit, data: Data) -> Program:
    """A call that is refused between ``on_train_begin`` and the first batch, where the stand-in raises."""
    program = Program(f"refused-{name}", data=data, actions=(fit,), epilogue=False)
    stand_in = replace(fit, epochs=1, iterations=0, callbacks=(_REFUSAL,))
    return _with(program, quirk, correction="refused_after_train_begin", actions=(stand_in,))


_NO_ROWS = Data(rows=3, batch=5, drop_last=True)
_RAISED = Fit(
    2, callbacks=(Cb("raise", options(at="batch_begin", when=2, counted_by="total_iteration_idx", kind="error")),)
)
_REFUSAL = Cb("raise", options(at="train_begin", order=3000, kind="error"))
_SUBSET = Cb("subset", options(num_train_batches=2))
_STEP_LISTS = (Cb("order", options(name="one")), Cb("order", options(name="two")))

CORRECTED: tuple[Program, ...] = (
    _mislabelled("two", ("zeta", "alpha"), _TWO, Fit(2), Fit(3), smoke=True),
    _mislabelled("three", ("m", "z", "a"), _THREE, Fit(2, accumulation=2)),
    _mislabelled(
        "watched",
        ("zeta", "alpha"),
        _TWO,
        Fit(5, callbacks=(Cb("early", options(monitor="val_loss_zeta", min_delta=0.4)),)),
    ),
    _mislabelled(
        "plateau",
        ("zeta", "alpha"),
        _TWO,
        Fit(3, callbacks=(Cb("plateau", options(main_multi_loss="zeta", patience=0, threshold=0.5, optimizer_idx=0)),)),
    ),
    _mislabelled("auto-eval-2", ("zeta", "alpha"), _TWO, Fit(3), auto_eval=2),
    with_loaders_restored(
        _with(
            Program("corrected-iterations-on-subset", actions=(Fit(iterations=6, callbacks=(_SUBSET,)),)),
            "Q03",
            correction="iteration_target_reached",
            actions=(Fit(3, callbacks=(_SUBSET,)),),
        )
    ),
    _with(
        Program("corrected-stale-losses", optimizer="adam", actions=(_RAISED, Fit(3)), smoke=True),
        "Q16",
        switchable=True,
        actions=(_RAISED, Do("clear_losses", hidden=True), Fit(3)),
    ),
    _with(
        Program(
            "corrected-mode-after-failed-prediction",
            model="broken",
            actions=(
                Fit(1),
                Do("fail_in", options(where="predictions")),
                Call("predict_on_test_set"),
                Do("fail_in", options(where="")),
                Fit(3),
            ),
            smoke=True,
        ),
        "Q20",
        correction="train_mode_after_error",
    ),
    _with(
        Program(
            "corrected-mode-after-failed-evaluation",
            model="broken",
            actions=(
                Fit(1),
                Do("fail_in", options(where="loss")),
                Call("evaluate_loss_on_train_set", options(force_prediction=True)),
                Do("fail_in", options(where="")),
                Fit(2),
            ),
        ),
        "Q20",
        correction="train_mode_after_error",
    ),
    _with(
        Program(
            "corrected-mode-after-missing-loader",
            data=Data(sets=()),
            actions=(Fit(1), Call("evaluate_loss_on_validation_set"), Call("predict_on_test_set"), Fit(3)),
        ),
        "Q20",
        correction="train_mode_after_error",
    ),
    _with(
        Program(
            "corrected-lists-of-predictions",
            loop_options=options(pred_transform_fn="keep_list_transf"),
            actions=(Fit(1), Call("predict_with_model", loader="val"), Call("predict_on_validation_set")),
            epilogue=False,
        ),
        "Q37",
        correction="second_call_like_first",
    ),
    _with(
        Program(
            "corrected-whole-number-names",
            model="multi",
            model_options=options(names=(0, 1), mapping=((0, 0), (1, 1))),
            optimizer="multi",
            optimizer_options=_TWO,
        ),
        "Q48",
        model_options=options(names=("0", "1"), mapping=(("0", 0), ("1", 1))),
    ),
    _with(
        Program(
            "corrected-nan-watch-of-multi-loss",
            model="multi",
            optimizer="multi",
            optimizer_options=_TWO,
            actions=(Fit(2, callbacks=(Cb("nan"),)),),
        ),
        "Q47",
        actions=(Fit(2, callbacks=(Cb("nan", options(monitor="loss_first")),)),),
    ),
    _with(
        Program("corrected-partial-hook", actions=(Fit(2, callbacks=(Cb("partial_hook"),)),), smoke=True),
        "Q87",
        actions=(Fit(2, callbacks=(Cb("function_hook"),)),),
    ),
    _with(
        Program("corrected-tuple-of-callbacks", actions=(Fit(2, callbacks=_STEP_LISTS, container="tuple"),)),
        "Q09",
        actions=(Fit(2, callbacks=_STEP_LISTS),),
    ),
    _with(Program("corrected-subclass-of-wrap", model="feed_subclass", optimizer="adam"), "Q26", model="feed"),
    _with(Program("corrected-function-as-criterion", criterion="function", optimizer="adam"), "Q27", criterion="l1"),
    _refused("negative-epochs", "Q04", Fit(-1)),
    _refused("negative-iterations", "Q04", Fit(iterations=-3)),
    _refused("window-zero", "Q12", Fit(1, accumulation=0)),
    _refused("window-negative", "Q12", Fit(1, accumulation=-1)),
    _refused("auto-eval-zero", "Q17", Fit(1), auto_eval=0),
    # Only the loss tells that it has no parts, so this one ends after the first loss and before the first backward.
    _with(
        Program(
            "refused-losses-without-parts",
            model="multi",
            model_options=options(single=True),
            optimizer="multi",
            optimizer_options=_TWO,
            actions=(Fit(1),),
            epilogue=False,
        ),
        "Q44",
        correction="refused",
        loop="failing_backward",
    ),
    # A callback may give the loop a loader with a length in on_train_begin, so these are refused after that hook.
    _refused_late("no-rows-to-train-on", "Q15", Fit(1), data=_NO_ROWS),
    _refused_late("no-rows-to-train-on-iterations", "Q15", Fit(iterations=2), data=_NO_ROWS),
    _refused_late("stream-window", "Q14", Fit(1, accumulation=2), data=Data(form="stream")),
    _refused_late("stream-iterations", "Q14", Fit(iterations=3), data=Data(form="stream")),
    _with(
        Program(
            "corrected-gradients-at-epoch-end",
            actions=(
                Fit(2, accumulation=2, callbacks=(Cb("clip_norm", options(max_grad_norm=0.1)), Cb("stats"))),
                Fit(3),
            ),
        ),
        "Q75",
        correction="gradients_only_at_epoch_end",
        actions=(
            Fit(
                2,
                accumulation=2,
                callbacks=(Cb("clip_norm", options(max_grad_norm=0.1)), Cb("stats", options(every=True))),
            ),
            Fit(3),
        ),
    ),
)
