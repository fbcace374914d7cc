"""What is expected of us where the reference is known to be wrong: small functions, named in the programs.

Each takes what the reference gave on the program, and a copy of that or, if there is a stand-in, of what the reference
gave on the stand-in; it returns what must come out here. A program without a function but with a stand-in expects the
stand-in's observation as it is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from tests.parity.compare import compare
from tests.parity.observe import decode_array
from tests.parity.spec import Program

Observation = dict[str, Any]
_REPORT = "---> Model layers gradients stats"


def _train_mode_after_error(plain: Observation, base: Observation) -> Observation:
    """Q20: an exception in a pass over a loader no longer leaves the model in ``eval()``."""
    del plain
    failed = False
    for step in base["actions"]:
        failed = failed or step["error"] is not None
        if failed:
            step["state"]["training"] = True
    base["final"]["training"] = True
    return base


def _refused(plain: Observation, base: Observation) -> Observation:
    """Nonsense is refused by a ``ValueError``, or by the type that the reference ends in, before anything changed."""
    late = plain["actions"][0]["error"]
    accepted = "ValueError" if late is None else f"{late['type']} or ValueError"
    base["actions"][0]["error"] |= {"type": accepted, "message": ""}
    return base


def _refused_after_train_begin(plain: Observation, base: Observation) -> Observation:
    """Q14: the hooks up to ``on_train_begin`` ran, and the stand-in's own last callback ended it there."""
    for state in (base["actions"][0]["state"], base["final"]):
        state["callbacks"] = [callback for callback in state["callbacks"] if callback[0] != "Raise"]
    return _refused(plain, base)


def _gradients_at_epoch_end(plain: Observation, base: Observation) -> Observation:
    """Q75: the report at the end of an epoch tells of the gradients that the last update used, not of cleared ones."""
    del plain
    lines: list[str] = []
    last: list[str] = []
    for block in _blocks(base["stdout"]):
        told = any(line.startswith("\tRatio") for line in block)
        if told:
            last = block
        lines += last if block[0] == _REPORT and not told else block
    base["stdout"] = lines
    return base


def _gradients_only_at_epoch_end(plain: Observation, base: Observation) -> Observation:
    """Q75 without the stand-in's reports after each batch: only those between two epochs stay."""
    lines: list[str] = []
    between = False
    for block in _blocks(_gradients_at_epoch_end(plain, base)["stdout"]):
        between = not block[0].startswith("Epoch:") and (between or block[0].startswith("AVG BATCH"))
        if between or block[0] != _REPORT:
            lines += block
    base["stdout"] = lines
    return base


def _blocks(lines: list[str]) -> list[list[str]]:
    """Printed lines, each gradient report as one block and every other line as its own."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith(("Layer ", "\tRatio")) and blocks and blocks[-1][0] == _REPORT:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _iteration_target_reached(plain: Observation, base: Observation) -> Observation:
    """Q03: an iteration target is reached although a callback shortened the loader, and the loop says so."""
    del plain
    place = next(index for index, line in enumerate(base["stdout"]) if line.startswith("TEST LOSS"))
    line = "Stopping training after 6 training iterations. Current iteration index: 5"
    base["stdout"].insert(place, line)
    return base


def _second_call_like_first(plain: Observation, base: Observation) -> Observation:
    """Q37: ``predict_on_*`` gives the lists that ``predict_with_model`` gives on the same loader, and stores them."""
    del plain
    first, second = base["actions"][1:3]
    second["result"], second["error"] = first["result"], None
    stored = sorted((*second["state"]["stored"], "val_pred"))
    second["state"] = copy.deepcopy(first["state"]) | {"rng": second["state"]["rng"], "stored": stored}
    base["final"] |= {"training": True, "stored": stored}
    return base


def _loss_as_numbers(plain: Observation, base: Observation) -> Observation:
    """Q35, Q36: a package gets the loss as numbers for all data, and what is predicted later has no loss in it."""
    del plain
    for event in _told_packages(base):
        metadata = _additional(event)
        for entry in metadata:
            if entry[0] == "loss":
                entry[1] = _as_numbers(entry[1])
    for step in base["actions"]:
        if step["action"].startswith("predict_on_"):
            metadata = step["result"]["items"][2]["items"]
            metadata[:] = [entry for entry in metadata if entry[0] != "loss"]
    return base


def _told_packages(base: Observation) -> list[Any]:
    return [event for event in base["events"] if event[0] == "package"]


def _additional(event: list[Any]) -> list[Any]:
    """The metadata that a package was given, as pairs of key and value."""
    pairs: list[Any] = event[-1]["items"][0][1]["items"]
    return pairs


def _as_numbers(loss: Any) -> Any:
    if not isinstance(loss, dict):
        return loss
    if loss["$"] == "tensor":
        return float(decode_array(loss))
    return {"$": "dict", "items": [[name, _as_numbers(value)] for name, value in loss["items"]]}


def _both_packages_told(plain: Observation, base: Observation) -> Observation:
    """Q74: the copy of the package for the training data is told the folder as well, after the first."""
    del plain
    place = next(index for index, event in enumerate(base["events"]) if event[0] == "package was told")
    base["events"].insert(place, list(base["events"][place]))
    return base


def _losses_at_the_end(plain: Observation, base: Observation) -> Observation:
    """Q72: where a report misses ``train_end_<metric>``, it shows ``<metric>``, if that exists."""
    del plain
    values = {key: value for key, value in base["final"]["history"]["items"] if value}

    def shown(line: str) -> str:
        missed = re.match(r"Metric train_end_(\w+) expected", line)
        return f"{missed[1]}: {values[missed[1]][-1]}" if missed and missed[1] in values else line

    base["stdout"] = [shown(line) for line in base["stdout"]]
    return base


def _predictor_gives_loss(plain: Observation, base: Observation) -> Observation:
    """Q126: a package that wants the loss gets that of the predictor's criterion, which was computed before."""
    del plain
    (loss, _, _) = base["actions"][1]["result"]
    (event,) = _told_packages(base)
    _additional(event).append(["loss", _as_numbers(loss)])
    base["stdout"].append("Getting test_loss predictions/loss from store")
    return base


CORRECTIONS: dict[str, Callable[[Observation, Observation], Observation]] = {
    "both_packages_told": _both_packages_told,
    "gradients_at_epoch_end": _gradients_at_epoch_end,
    "gradients_only_at_epoch_end": _gradients_only_at_epoch_end,
    "iteration_target_reached": _iteration_target_reached,
    "loss_as_numbers": _loss_as_numbers,
    "losses_at_the_end": _losses_at_the_end,
    "predictor_gives_loss": _predictor_gives_loss,
    "refused": _refused,
    "refused_after_train_begin": _refused_after_train_begin,
    "second_call_like_first": _second_call_like_first,
    "train_mode_after_error": _train_mode_after_error,
}


def expected_observation(program: Program, plain: Observation, stand_in: Observation | None) -> Observation:
    """What this package must give for ``program``.

    Args:
        program: the program.
        plain: the reference's observation of the program.
        stand_in: the reference's observation of its stand-in, if it has one.
    """
    base = copy.deepcopy(plain if stand_in is None else stand_in)
    return CORRECTIONS[program.correction](plain, base) if program.correction else base


def corrected_values(plain: Observation, expected: Observation) -> int:
    """How many observed values a correction replaced."""
    return len(compare(plain, expected))
