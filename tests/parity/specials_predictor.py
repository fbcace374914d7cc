"""Hand-written programs: ``PyTorchModelPredictor``, on a model that was trained or not."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.spec import Data, Do, Fit, Options, Plain, Program, options

_TWO: Options = options(kinds=("sgd", "adam"))
_MAKE = Do("make_predictor")
_ANEW = Do("make_predictor", hidden=True)
_METRICS = ("squared", "gap", "absolute")


def _ask(method: str, **settings: Plain) -> Do:
    return Do("ask_predictor", options(method=method, **settings))


_PREDICT = _ask("model_predict")
_LOSS = _ask("model_get_loss", criterion="mse")
_OTHER_LOSS = _ask("model_get_loss", criterion="l1")
_SHIFT = Do("shift_weights", options(by=0.25))


def _anew(name: str, *actions: Do) -> Program:
    """Q33: where something changed, the stand-in asks another predictor."""
    program = Program(f"corrected-predictor-{name}", model="metadata", epilogue=False)
    ours = tuple(action for action in actions if not action.hidden)
    return replace(program, actions=ours, corrected=("Q33",), stand_in=replace(program, actions=actions))


PREDICTOR: tuple[Program, ...] = (
    Program(
        "predictor-of-a-trained-model",
        model="metadata_dropout",
        actions=(
            Fit(2),
            _MAKE,
            _PREDICT,
            _PREDICT,
            _LOSS,
            _PREDICT,
            _ask("evaluate_result_package", package="told"),
            _ask("evaluate_result_package", package="regression", more=(False,)),
            _ask("evaluate_result_package", package="general", more=(True,)),
        ),
        smoke=True,
    ),
    Program("predictor-of-an-untrained-model", actions=(_MAKE, _LOSS, _PREDICT), epilogue=False),
    Program(
        "predictor-of-metrics",
        actions=(
            _MAKE,
            _ask("evaluate_metric", metric="squared"),
            _ask("evaluate_metric", metric="gap", more=(False,)),
            _ask("evaluate_metric_list", metrics=_METRICS),
            _ask("evaluate_metric_list", metrics=_METRICS, more=(False,)),
            _ask("evaluate_metric_list", metrics=()),
            _ask("evaluate_metric_list", metrics=("gap",), more=(False,)),
            _ask("evaluate_metric_list", metrics=(), more=(False,)),
        ),
        epilogue=False,
        smoke=True,
    ),
    Program(
        "predictor-of-binary-results",
        model="probability",
        data=Data(kind="binary", rows=30),
        actions=(Fit(2), _MAKE, _ask("evaluate_result_package", package="binary", more=(False,))),
    ),
    Program(
        "predictor-of-a-feed", model="feed", actions=(_MAKE, _PREDICT, _ask("evaluate_result_package", package="told"))
    ),
    Program(
        "predictor-of-several-losses",
        model="multi",
        optimizer="multi",
        optimizer_options=_TWO,
        actions=(Fit(1), _MAKE, _LOSS, _PREDICT),
    ),
    Program(
        "predictor-runs-callbacks",
        recorders="none",
        actions=(
            Do("make_predictor", options(hooks=("tl_registration", "batch_end", "epoch_end", "train_end"))),
            _ask("execute_batch_end_callbacks"),
            _PREDICT,
            _ask("execute_epoch_end_callbacks"),
        ),
        epilogue=False,
    ),
    Program(
        "predictor-without-callbacks",
        actions=(_MAKE, _ask("execute_batch_end_callbacks"), _ask("execute_epoch_end_callbacks")),
        epilogue=False,
    ),
    Program("predictor-in-eval-mode", actions=(Do("eval_mode"), _MAKE, _PREDICT), epilogue=False),
    Program(
        "predictor-without-loader",
        actions=(Do("make_predictor", options(no_loader=True)), _PREDICT, _LOSS),
        epilogue=False,
        corrected=("Q20",),
        correction="train_mode_after_error",
    ),
    Program(
        "predictor-of-a-package-that-wants-the-loss",
        model="metadata",
        actions=(_MAKE, _ask("evaluate_result_package", package="told", wants_loss=True)),
        epilogue=False,
    ),
    _anew("other-criterion", _MAKE, _LOSS, _ANEW, _OTHER_LOSS, _ANEW, _LOSS),
    _anew("other-weights", _MAKE, _LOSS, _SHIFT, _ANEW, _LOSS, _SHIFT, _ANEW, _PREDICT),
    Program(
        "corrected-predictor-with-loss",
        model="metadata",
        actions=(_MAKE, _LOSS, _PREDICT, _ask("evaluate_result_package", package="told", wants_loss=True)),
        epilogue=False,
        corrected=("Q126",),
        correction="predictor_gives_loss",
    ),
)
