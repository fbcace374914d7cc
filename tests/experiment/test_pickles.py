"""Metrics and packages that a program pickled with the old library are read as ours."""

import base64
import io
import pickle
from typing import Any

import pytest

import compat
from compat._surface import resolve, surface
from tests.experiment import worker
from tests.experiment.programs import plain

PICKLES: dict[str, str] = worker.recorded()["pickles"]


class OldNames(pickle.Unpickler):
    """Reads the names of the old library from the table, as the drop-in import does."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("aitoolbox"):
            return resolve(surface().names[f"{module}.{name}"].ours)
        return super().find_class(module, name)


def loaded(name: str) -> Any:
    return OldNames(io.BytesIO(base64.b64decode(PICKLES[name]))).load()


@pytest.mark.parametrize("name", PICKLES)
def test_an_old_object_is_ours_and_has_all_that_ours_has(name: str) -> None:
    ours = worker.objects(compat)[name]
    old = loaded(name)
    assert type(old) is type(ours)
    assert list(vars(old)) == list(vars(ours))
    assert plain(vars(old)) == plain(vars(ours))


def test_old_objects_work() -> None:
    accuracy, recall, binary, wrapper = (
        loaded(name) for name in ("AccuracyMetric", "RecallMetric", "binary", "wrapper")
    )
    assert accuracy > recall
    assert recall.calculate_metric() == 0.5
    assert recall + accuracy == {"Recall": 0.5, "Accuracy": 0.75}
    binary.prepare_result_package([0, 1], [0.25, 0.5])
    assert binary["Accuracy"] == 1.0
    assert len(wrapper + {"a": 1}) == 3


def test_ours_can_be_pickled() -> None:
    for name, made in worker.objects(compat).items():
        again = pickle.loads(pickle.dumps(made))
        assert plain(vars(again)) == plain(vars(made)), name
