"""What became of each case and program, in the reference: run there, recorded beside this file.

``COMPAT_REFERENCE_ENV=<environment> python -m tests.experiment.worker`` writes the record anew. It asks the reference
by ``--here``, in the environment of the reference.
"""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.experiment.cases import METRICS, cases, outcome
from tests.experiment.programs import Program, run
from tests.experiment.programs_metrics import WITH_METRICS
from tests.experiment.programs_overrides import WITH_OVERRIDES
from tests.experiment.programs_packages import WITH_PACKAGES

MODULES = (
    "core_metrics.abstract_metric",
    "core_metrics.classification",
    "core_metrics.regression",
    "result_package.abstract_result_packages",
    "result_package.basic_packages",
)
PROGRAMS: dict[str, Program] = WITH_METRICS | WITH_PACKAGES | WITH_OVERRIDES
RECORD = Path(__file__).with_name("record_1_8_0.json")
ROOT = Path(__file__).resolve().parents[2]


def everything(api: Any) -> dict[str, Any]:
    """What became of all cases and programs, by name."""
    return {
        "metrics": {case.name: outcome(getattr(api, case.metric), case) for case in cases()},
        "programs": {name: run(program, api) for name, program in PROGRAMS.items()},
        "pickles": {name: base64.b64encode(pickle.dumps(made, 4)).decode() for name, made in objects(api).items()},
    }


def objects(api: Any) -> dict[str, Any]:
    """Metrics and packages as a program may have kept them."""
    y_true, scores = [0, 1, 1, 0], [0.25, 0.75, 0.375, 0.125]
    metrics = {name: getattr(api, name)(y_true, scores) for name in METRICS}
    binary, regression = api.BinaryClassificationResultPackage(0.3), api.RegressionResultPackage()
    general = api.GeneralResultPackage([api.AccuracyMetric])
    complete = {"bash_script_path": "a", "experiment_file_path": "b"}
    for package in (binary, regression, general):
        package.prepare_result_package(y_true, scores, complete, additional_results={"x": 1})
    return metrics | {
        "binary": binary,
        "general": general,
        "calculated": api.PreCalculatedResultPackage({"a": 1}),
        "wrapper": binary + regression,
        "unprepared": api.ClassificationResultPackage(),
    }


def as_read(seen: dict[str, Any]) -> dict[str, Any]:
    """What was seen as JSON gives it back, so that it can be compared with what was recorded."""
    read: dict[str, Any] = json.loads(json.dumps(seen))
    return read


def old_classes() -> Any:
    """The classes of the reference."""
    modules = [vars(import_module(f"aitoolbox.experiment.{module}")) for module in MODULES]
    return SimpleNamespace(
        **{name: value for names in modules for name, value in names.items() if isinstance(value, type)}
    )


def recorded() -> dict[str, Any]:
    """What became of everything in the reference, as it was recorded."""
    read: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return read


def asked(python: Path) -> dict[str, Any]:
    """What becomes of everything in the reference, now."""
    command = [str(python), "-W", "ignore", "-m", __spec__.name, "--here"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300)
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def main() -> None:
    """Answer as the reference, or record what it answers."""
    if "--here" in sys.argv:
        sys.stdout.write("\n" + json.dumps(everything(old_classes())) + "\n")
        return
    from tests.parity.reference import prepare

    # One line a case, so that a change can be read.
    parts = [
        f'"{part}": {{\n'
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(seen)}" for name, seen in found.items())
        + "\n}"
        for part, found in asked(prepare()).items()
    ]
    RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
