"""The comparison sees what it claims to see: each test changes one thing in an observation, which must be reported.

The observation is a recorded one. Which library it comes from does not matter: the comparison is what is tested.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.parity import records
from tests.parity.compare import compare
from tests.parity.observe import decode_array

Observation = dict[str, Any]
Change = Callable[[Observation], None]


@pytest.fixture(scope="module")
def observation() -> Observation:
    """A recorded program with everything in it: momentum, metadata, messages, a scheduler, predictions."""
    _, programs = records.read()
    recorded = programs["control-of-the-comparison"]
    assert isinstance(recorded, dict)
    return recorded


def _entry(mapping: Observation, key: str) -> list[Any]:
    """The ``[key, value]`` pair of an encoded mapping."""
    found = next(pair for pair in mapping["items"] if pair[0] == key)
    assert isinstance(found, list)
    return found


def _nudge(encoded: Observation) -> None:
    """Move the first element of an encoded array by one unit in the last place."""
    values = decode_array(encoded).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.asarray(np.inf, dtype=values.dtype))
    encoded["data"] = base64.b64encode(values.tobytes()).decode()


def _nudged(value: float) -> float:
    return float(np.nextafter(value, np.inf))


def _weight(one: Observation) -> None:
    _nudge(one["final"]["weights"]["items"][0][1])


def _buffer(one: Observation) -> None:
    _nudge(_entry(one["final"]["buffers"], "net.1.running_mean")[1])


def _criterion(one: Observation) -> None:
    _nudge(_entry(one["final"]["criterion"], "scale")[1])


def _moment(one: Observation) -> None:
    state = _entry(one["final"]["optimizer"], "state")[1]
    _nudge(_entry(state["items"][0][1], "exp_avg")[1])


def _optimizer_option(one: Observation) -> None:
    groups = _entry(one["final"]["optimizer"], "param_groups")[1]
    _entry(groups[0], "lr")[1] = _nudged(_entry(groups[0], "lr")[1])


def _history_value(one: Observation) -> None:
    losses = _entry(one["final"]["history"], "loss")[1]
    losses[0] = _nudged(losses[0])


def _history_length(one: Observation) -> None:
    _entry(one["final"]["history"], "loss")[1].pop()


def _history_order(one: Observation) -> None:
    one["final"]["history"]["items"].reverse()


def _history_key(one: Observation) -> None:
    _entry(one["final"]["history"], "loss")[0] = "lost"


def _history_type(one: Observation) -> None:
    losses = _entry(one["final"]["history"], "loss")[1]
    losses[0] = {"$": "numpy.float64", "dtype": "<f8", "shape": [], "data": ""}


def _event_missing(one: Observation) -> None:
    del one["events"][3]


def _events_swapped(one: Observation) -> None:
    one["events"][2], one["events"][3] = one["events"][3], one["events"][2]


def _event_counter(one: Observation) -> None:
    next(event for event in one["events"] if event[1] == "batch_begin")[4] += 1


def _event_mode(one: Observation) -> None:
    event = next(event for event in one["events"] if event[1] == "batch_end")
    event[5] = not event[5]


def _event_rate(one: Observation) -> None:
    event = next(event for event in one["events"] if event[1] == "batch_end")
    event[7][0] = _nudged(event[7][0])


def _final_rate(one: Observation) -> None:
    one["final"]["rates"][0] = _nudged(one["final"]["rates"][0])


def _rng(which: str) -> Change:
    def change(one: Observation) -> None:
        one["final"]["rng"][which] = "0" * 16

    return change


def _gradient_gone(one: Observation) -> None:
    pair = one["final"]["gradients"]["items"][0]
    pair[1] = one["final"]["weights"]["items"][0][1] if pair[1] is None else None


def _call(one: Observation, name: str) -> Observation:
    found = next(step for step in one["actions"] if step["action"] == name)
    assert isinstance(found, dict)
    return found


def _prediction(part: int) -> Change:
    def change(one: Observation) -> None:
        encoded = _call(one, "predict_on_validation_set")["result"]["items"][part]
        values = decode_array(encoded).copy()
        values.flat[-1] += 1
        encoded["data"] = base64.b64encode(values.tobytes()).decode()

    return change


def _metadata(one: Observation) -> None:
    metadata = _call(one, "predict_on_train_set")["result"]["items"][2]
    _entry(metadata, "names")[1][0] = "another row"


def _evaluation(one: Observation) -> None:
    step = _call(one, "evaluate_loss_on_test_set")
    step["result"] = _nudged(step["result"])


def _line_missing(one: Observation) -> None:
    one["stdout"].pop()


def _line_changed(one: Observation) -> None:
    index = next(index for index, line in enumerate(one["stdout"]) if line.startswith("VAL LOSS"))
    one["stdout"][index] = one["stdout"][index].replace("VAL", "VALIDATION")


def _line_number(one: Observation) -> None:
    index = next(index for index, line in enumerate(one["stdout"]) if line.startswith("VAL LOSS"))
    one["stdout"][index] += "1"


def _counter(name: str) -> Change:
    def change(one: Observation) -> None:
        one["final"]["counters"][name] += 1

    return change


def _flag(name: str) -> Change:
    def change(one: Observation) -> None:
        one["final"]["counters"][name] = not one["final"]["counters"][name]

    return change


def _file(one: Observation) -> None:
    one["files"].append("lightning_logs")


def _mode(one: Observation) -> None:
    one["final"]["training"] = not one["final"]["training"]


def _no_error(one: Observation) -> None:
    _call(one, "predict_with_model")["error"] = None


def _error_type(one: Observation) -> None:
    error = _call(one, "predict_with_model")["error"]
    error["type"], error["bases"] = "OSError", ["OSError", "Exception", "BaseException", "object"]


def _return_value(one: Observation) -> None:
    _call(one, "fit")["result"] = False


def _callback_state(one: Observation) -> None:
    state = next(state for state in one["final"]["callbacks"] if state[0] == "EarlyStopping")
    _entry(state[3], "patience_count")[1] += 1


def _callback_order(one: Observation) -> None:
    one["final"]["callbacks"].reverse()


def _stored(one: Observation) -> None:
    one["final"]["stored"].remove("val_pred")


def _message(one: Observation) -> None:
    one["final"]["messages"].append("one more")


def _dtype(one: Observation) -> None:
    encoded = one["final"]["weights"]["items"][0][1]
    values = decode_array(encoded).astype(np.float64)
    encoded.update(dtype=values.dtype.str, data=base64.b64encode(values.tobytes()).decode())


def _not_built(one: Observation) -> None:
    one["built"] = {"$": "error", "type": "TypeError", "bases": ["TypeError"], "message": ""}


def _part_missing(one: Observation) -> None:
    del one["final"]["gradients"]


# Name of the change -> (the change, whether it is too small to be seen within the tolerance).
CHANGES: dict[str, tuple[Change, bool]] = {
    "weight by one ulp": (_weight, True),
    "buffer by one ulp": (_buffer, True),
    "criterion by one ulp": (_criterion, True),
    "optimizer moment by one ulp": (_moment, True),
    "optimizer option by one ulp": (_optimizer_option, True),
    "history value by one ulp": (_history_value, True),
    "history length": (_history_length, False),
    "history key order": (_history_order, False),
    "history key": (_history_key, False),
    "history value type": (_history_type, False),
    "event missing": (_event_missing, False),
    "events swapped": (_events_swapped, False),
    "event counter": (_event_counter, False),
    "event mode": (_event_mode, False),
    "rate in event by one ulp": (_event_rate, True),
    "final rate by one ulp": (_final_rate, True),
    "torch generator": (_rng("torch"), False),
    "numpy generator": (_rng("numpy"), False),
    "python generator": (_rng("python"), False),
    "gradient left behind": (_gradient_gone, False),
    "prediction": (_prediction(0), False),
    "target": (_prediction(1), False),
    "metadata": (_metadata, False),
    "evaluated loss by one ulp": (_evaluation, True),
    "printed line missing": (_line_missing, False),
    "printed label": (_line_changed, False),
    "printed number in its last digit": (_line_number, True),
    "epoch": (_counter("epoch"), False),
    "iteration": (_counter("iteration"), False),
    "total_iteration_idx": (_counter("total_iteration_idx"), False),
    "early_stop": (_flag("early_stop"), False),
    "grad_cb_used": (_flag("grad_cb_used"), False),
    "file made": (_file, False),
    "model mode": (_mode, False),
    "error gone": (_no_error, False),
    "error type": (_error_type, False),
    "returned model": (_return_value, False),
    "callback state": (_callback_state, False),
    "callback order": (_callback_order, False),
    "stored prediction": (_stored, False),
    "message left": (_message, False),
    "dtype of a weight": (_dtype, False),
    "constructor failed": (_not_built, False),
    "section missing": (_part_missing, False),
}


def test_nothing_reported_for_equal_observations(observation: Observation) -> None:
    assert compare(observation, copy.deepcopy(observation)) == []
    assert compare(observation, copy.deepcopy(observation), exact=False) == []


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_reported(observation: Observation, name: str) -> None:
    change, _ = CHANGES[name]
    changed = copy.deepcopy(observation)
    change(changed)
    assert compare(observation, changed), f"{name} went unnoticed"
    assert compare(changed, observation), f"{name} went unnoticed the other way round"


@pytest.mark.parametrize("name", CHANGES)
def test_tolerance_forgives_rounding_and_nothing_else(observation: Observation, name: str) -> None:
    change, rounding = CHANGES[name]
    changed = copy.deepcopy(observation)
    change(changed)
    assert bool(compare(observation, changed, exact=False)) is not rounding


def test_tolerance_has_an_end(observation: Observation) -> None:
    changed = copy.deepcopy(observation)
    encoded = changed["final"]["weights"]["items"][0][1]
    values = decode_array(encoded) * np.float32(1.0001)
    encoded["data"] = base64.b64encode(values.tobytes()).decode()
    assert compare(observation, changed, exact=False)


def test_nan_equals_nan_and_signed_zeros_differ() -> None:
    assert compare([float("nan")], [float("nan")]) == []
    assert compare([0.0], [-0.0])
    assert compare([float("nan")], [0.0])
    assert compare([float("nan")], [0.0], exact=False)


def test_whole_numbers_truth_values_and_floats_are_three_things() -> None:
    assert compare([1], [1.0])
    assert compare([1], [True])


def test_subclass_of_the_expected_error_is_accepted() -> None:
    expected = {"$": "error", "type": "ValueError", "bases": ["ValueError", "Exception"], "message": "old words"}
    ours = {"$": "error", "type": "PlanError", "bases": ["ValueError", "Exception"], "message": "new words"}
    assert compare(expected, ours) == []
    assert compare(ours, expected)


def test_words_of_the_programs_own_errors_are_compared() -> None:
    expected = {"$": "error", "type": "ValueError", "bases": ["ValueError"], "message": "raised on purpose"}
    assert compare(expected, {**expected, "message": "something went wrong"})
