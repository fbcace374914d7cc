"""What the old library pickled can be loaded while its name is served: the objects are ours, with their old state.

``tests/facts/pickles_1_8_0.json`` holds pickles that AIToolbox 1.8.0 wrote, base64 in JSON.
"""

import base64
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import compat
from compat.exceptions import RefusedError

PICKLES: dict[str, str] = json.loads(
    Path(__file__).parents[1].joinpath("facts", "pickles_1_8_0.json").read_text(encoding="utf-8")
)
SAVED = PICKLES.pop("torch.save")
STATE: dict[str, Callable[[Any], bool]] = {
    "TrainingHistory": lambda it: it["loss"] == [0.5] and it["val_loss"] == [0.25] and len(it) == 3,
    "MessageService": lambda it: it.read_messages("k") == ["v"],
    "MessageHandling": lambda it: it is compat.MessageHandling.UNTIL_READ,
    "ModelPredictionStore": lambda it: it.has_train_loss(3) and it.get_train_loss(3) == 0.75,
    "torch_cat_transf": lambda it: it is compat.torch_cat_transf,
    "BasicDataset": lambda it: len(it) == 3 and it[1] == 2,
    "ListDataset": lambda it: it[1] == (2, 4),
    "MultiLoss": lambda it: list(it) == ["a", "b"] and float(it["b"]) == 2,
    "EarlyStopping": lambda it: (it.monitor, it.patience, it.execution_order) == ("val_loss", 3, 99),
    "ThresholdEarlyStopping": lambda it: (it.monitor, it.threshold) == ("val_acc", 0.5),
    "GradNormClip": lambda it: it.max_grad_norm == 1.5,
    "StepLRScheduler": lambda it: it.callback_name is not None,
    "AccuracyMetric": lambda it: it.get_metric() == 2 / 3,
    "MeanSquaredErrorMetric": lambda it: it.get_metric_dict() == {"Mean_squared_error": 2.0},
    "ClassificationResultPackage": lambda it: it.get_results() == {"Accuracy": 0.5},
    "RegressionResultPackage": lambda it: it.get_results()["Mean_squared_error"] == 0.5,
    "PreCalculatedResultPackage": lambda it: it.get_results() == {"x": 1.0},
    "ModelWrap": lambda it: it.model.weight.shape == (1, 2) and it.batch_model_feed_def is None,
    "Vocabulary": lambda it: it.word2index["a"] == 4,
}

pytestmark = pytest.mark.usefixtures("installed")


def test_every_pickle_is_looked_into() -> None:
    assert set(STATE) == set(PICKLES)


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_of_the_old_library(name: str) -> None:
    held = base64.b64decode(PICKLES[name])
    assert b"aitoolbox." in held
    found = pickle.loads(held)
    assert STATE[name](found)
    assert b"aitoolbox" not in pickle.dumps(found), "written again, it needs the old name no more"
    assert STATE[name](pickle.loads(pickle.dumps(found)))


def test_torch_load_of_a_file_that_names_old_classes() -> None:
    """A history and a whole model, as ``torch.save`` wrote them."""
    found = torch.load(io.BytesIO(base64.b64decode(SAVED)), weights_only=False)
    assert found["history"]["loss"] == [0.5]
    assert type(found["model"]) is compat.ModelWrap
    module: Any = found["model"].model
    assert module(torch.ones(1, 2)).shape == (1, 1)


def test_a_pickle_of_something_refused_says_why() -> None:
    held = b"\x80\x04" + b"caitoolbox.torchtrain.callbacks.model_save\nModelCheckpoint\n)\x81."
    with pytest.raises(RefusedError, match="ModelCheckpoint is not served yet"):
        pickle.loads(held)
