"""Evaluating and predicting: values, caching, modes, devices, and what goes wrong."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compat import TrainLoop, keep_list_transf, quirks
from compat.exceptions import QuirkWarning
from tests.toys import Linear, Recorder, batches, data_loader, make_loop

PASSES = [
    ("evaluate_loss_on_train_set", "train_loss"),
    ("evaluate_loss_on_validation_set", "val_loss"),
    ("evaluate_loss_on_test_set", "test_loss"),
    ("predict_on_train_set", "train_pred"),
    ("predict_on_validation_set", "val_pred"),
    ("predict_on_test_set", "test_pred"),
]


def full_loop(model: Any = None, **options: Any) -> Any:
    """Make a loop that has all three loaders."""
    return make_loop(model, validation=batches(2), test=batches(1), **options)


@pytest.mark.parametrize(("method", "key"), PASSES)
def test_result_is_stored_for_the_iteration(method: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    loop = full_loop()
    first = getattr(loop, method)()
    with torch.no_grad():
        loop.model.layer.weight.add_(1.0)
    assert getattr(loop, method)() is first
    assert f"Getting {key} predictions/loss from store" in capsys.readouterr().out
    forced = getattr(loop, method)(force_prediction=True)
    assert forced is not first
    assert getattr(loop, method)() is forced
    loop.total_iteration_idx += 1
    assert getattr(loop, method)() is not forced


def test_loss_is_the_float64_mean_over_batches() -> None:
    loop, criterion = full_loop(), nn.MSELoss()
    loss = loop.evaluate_loss_on_train_set()
    with torch.no_grad():
        expected = torch.stack([criterion(loop.model(x), y) for x, y in batches()]).double().mean()
    assert loss.dtype is torch.float64
    assert loss.dim() == 0
    assert torch.equal(loss, expected)


def test_predictions_are_joined_over_batches() -> None:
    predicted, targets, metadata = full_loop().predict_on_validation_set()
    assert predicted.shape == targets.shape == (4, 1)
    assert torch.equal(targets, torch.cat([y for _, y in batches(2)]))
    assert metadata == {}


@pytest.mark.parametrize(("method", "key"), PASSES)
@pytest.mark.parametrize("fails", [False, True], ids=["done", "raised"])
def test_model_is_in_train_mode_afterwards(method: str, key: str, fails: bool) -> None:
    class Model(Linear):
        def forward(self, inputs: torch.Tensor) -> Any:
            assert not self.training
            assert not torch.is_grad_enabled()
            if fails:
                raise RuntimeError(key)
            return super().forward(inputs)

    loop = full_loop(Model())
    loop.model.eval()
    if fails:
        with pytest.raises(RuntimeError, match=key):
            getattr(loop, method)()
    else:
        getattr(loop, method)()
    assert loop.model.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", ["evaluate_model_loss", "predict_with_model"])
@pytest.mark.parametrize(
    ("loader", "error", "text"),
    [
        (None, TypeError, "is None, which is not iterable"),
        ([], IndexError, "holds no batch"),
        (5, TypeError, "is a int"),
    ],
    ids=["None", "empty", "number"],
)
@pytest.mark.parametrize("mode", ["kept", "fixed"])
def test_bad_loader_is_a_failed_evaluation(
    method: str, loader: Any, error: type[Exception], text: str, mode: str
) -> None:
    loop = full_loop(quirks={"Q20": mode})
    with pytest.raises(error, match=text):
        getattr(loop, method)(loader)
    assert loop.model.training == (mode == "fixed")
    assert quirks.counts()["Q20"] == 1


@pytest.mark.parametrize("method", ["evaluate_model_loss", "predict_with_model"])
def test_loader_that_turns_out_empty(method: str) -> None:
    with pytest.raises(IndexError, match=r"at least one batch|At least one is needed"):
        getattr(full_loop(), method)(iter([]))


def test_empty_prediction_loader_is_also_the_value_error_it_was() -> None:
    with pytest.raises(ValueError, match="holds no batch"):
        full_loop().predict_with_model([])


@pytest.mark.parametrize(
    ("output", "error", "text"),
    [((1, 2), ValueError, "returned 2 values"), (5, TypeError, "returned a int")],
    ids=["pair", "number"],
)
def test_predictions_of_the_wrong_kind(output: Any, error: type[Exception], text: str) -> None:
    class Model(Linear):
        def get_predictions(self, batch_data: Any, device: Any) -> Any:
            return output

    with pytest.raises(error, match=text):
        full_loop(Model()).predict_on_train_set()


class WithMetadata(Linear):
    """Predicts with metadata of all three kinds."""

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return metadata with the inputs in three forms."""
        predicted, targets, _ = super().get_predictions(batch_data, device)
        rows = batch_data[0][:, 0]
        return predicted, targets, {"list": rows.tolist(), "tensor": rows, "array": rows.numpy()}


def test_metadata_is_joined_by_kind() -> None:
    metadata = full_loop(WithMetadata()).predict_on_train_set()[2]
    rows = torch.cat([x[:, 0] for x, _ in batches()])
    assert metadata["list"] == rows.tolist()
    assert torch.equal(metadata["tensor"], rows)
    assert isinstance(metadata["array"], np.ndarray)
    assert metadata["array"].tolist() == rows.tolist()


@pytest.mark.parametrize("second", [{"other": [1, 2]}, None], ids=["other keys", "None"])
def test_metadata_that_does_not_line_up_warns(second: Any) -> None:
    class Model(Linear):
        def get_predictions(self, batch_data: Any, device: Any) -> Any:
            predicted, targets, _ = super().get_predictions(batch_data, device)
            return predicted, targets, {"key": [1, 2]} if torch.equal(batch_data[0], batches()[0][0]) else second

    with pytest.warns(QuirkWarning, match="Q40: .*do not line up"):
        full_loop(Model()).predict_on_train_set()


def test_metadata_of_another_kind_is_a_type_error() -> None:
    class Model(Linear):
        def get_predictions(self, batch_data: Any, device: Any) -> Any:
            return (*super().get_predictions(batch_data, device)[:2], {"key": "text"})

    with pytest.raises(TypeError, match=r"Metadata 'key' holds a str\. Values that can be joined"):
        full_loop(Model()).predict_on_train_set()


def test_transforms_that_return_no_tensor_work() -> None:
    predicted, targets, _ = full_loop(pred_transform_fn=keep_list_transf).predict_on_train_set()
    assert [entry.shape for entry in predicted] == [(2, 1)] * 3
    assert len(targets) == 3
    arrays = full_loop(pred_transform_fn=lambda parts: torch.cat(parts).numpy()).predict_on_train_set()
    assert isinstance(arrays[0], np.ndarray)


def test_callbacks_see_each_batch_only_when_asked() -> None:
    class Watch(Recorder):
        def on_after_batch_prediction(self, *values: Any) -> None:
            self.events.append((f"{values[3]['type']} {tuple(values[0].shape)}", 0, 0, 0))

    loop, watch = full_loop(), Watch()
    loop.callbacks_handler.register_callbacks([watch])
    watch.events.clear()
    loop.predict_on_validation_set()
    assert watch.events == []
    loop.predict_on_validation_set(force_prediction=True, execute_callbacks=True)
    assert watch.names() == ["validation (2, 1)"] * 2


def test_criterion_is_moved_for_a_loss_and_not_for_predictions() -> None:
    class Criterion(nn.MSELoss):
        moved = 0

        def to(self, *args: Any, **kwargs: Any) -> Any:
            self.moved += 1
            return super().to(*args, **kwargs)

    criterion = Criterion()
    loop = full_loop(criterion=criterion)
    loop.predict_on_train_set()
    assert criterion.moved == 0
    loop.evaluate_loss_on_train_set()
    assert criterion.moved == 1


def test_shuffled_loader_is_predicted_in_the_order_it_yields() -> None:
    torch.manual_seed(3)
    _, targets, _ = make_loop().predict_with_model(data_loader(shuffle=True))
    torch.manual_seed(3)
    assert torch.equal(targets, torch.cat([y for _, y in data_loader(shuffle=True)]))


class NotMain(TrainLoop):
    """Takes itself for another process than the main one."""

    def is_main_process(self) -> bool:
        return False


def test_progress_is_shown_by_the_main_process_alone(capsys: pytest.CaptureFixture[str]) -> None:
    model = Linear()
    for kind, is_shown in ((TrainLoop, True), (NotMain, False)):
        loop = kind(model, batches(2), batches(1), None, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
        loop.fit(1)
        loop.predict_on_validation_set()
        assert bool(capsys.readouterr().err) is is_shown


class OtherNames(TrainLoop):
    """Names an argument otherwise."""

    def predict_with_model(
        self, loader: Any, callbacks: bool = False, move_to_cpu: bool = False, dataset_info: Any = None
    ) -> Any:
        return super().predict_with_model(loader, callbacks, move_to_cpu, dataset_info)


def test_an_override_may_name_the_arguments_otherwise() -> None:
    model = Linear()
    loop = OtherNames(model, batches(2), batches(1), None, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    assert len(loop.predict_on_validation_set()[0]) == 2
