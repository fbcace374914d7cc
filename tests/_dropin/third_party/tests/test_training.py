import pickle
import unittest
from unittest.mock import MagicMock, patch

import pytest
import torch
from aitoolbox.experiment.training_history import TrainingHistory
from aitoolbox.torchtrain.callbacks.abstract import AbstractCallback
from aitoolbox.torchtrain.train_loop import TrainLoop
from aitoolbox.torchtrain.train_loop.components.callback_handler import CallbacksHandler
from shop.training import Feed, Lines, ShopLoop, make_loop, train


def test_loss_goes_down():
    loop = train(5)
    assert loop.train_history["val_loss"][-1] < loop.train_history["val_loss"][0]


@pytest.mark.parametrize("epochs", [1, 3])
def test_lines(epochs):
    lines = Lines()
    train(epochs, [lines])
    assert [line.split(":")[0] for line in lines.lines] == [str(epoch) for epoch in range(epochs)]


def test_fixture_and_stopping(loop, stopping):
    loop.fit(num_epochs=3, callbacks=[stopping])
    assert len(loop.train_history["val_loss"]) == 3


def test_names_are_the_same_everywhere():
    import aitoolbox

    assert aitoolbox.TrainLoop is TrainLoop
    assert issubclass(ShopLoop, TrainLoop)
    assert isinstance(make_loop().train_history, TrainingHistory)
    assert isinstance(make_loop().callbacks_handler, CallbacksHandler)


def test_mock_callback_is_called():
    callback = MagicMock(spec=AbstractCallback)
    callback.execution_order, callback.device_idx_execution, callback.callback_name = 0, None, "mock"
    callback.register_train_loop_object.return_value = callback
    make_loop().fit(num_epochs=2, callbacks=[callback])
    assert callback.on_epoch_end.call_count == 2


@patch("aitoolbox.torchtrain.train_loop.train_loop.TrainLoop.evaluate_loss_on_validation_set")
def test_patched_evaluation(evaluate):
    evaluate.return_value = torch.tensor(0.125)
    loop = train(2)
    assert loop.train_history["val_loss"] == [0.125, 0.125]
    assert evaluate.call_count == 2


@patch("shop.training.StepLRScheduler")
def test_patched_where_it_is_used(scheduler):
    scheduler.side_effect = RuntimeError("patched")
    with pytest.raises(RuntimeError, match="patched"):
        train(1)


def test_tracking_is_refused_with_a_reason():
    from aitoolbox.torchtrain.train_loop import TrainLoopCheckpoint

    with pytest.raises(RuntimeError, match="TrainLoopCheckpoint is not served yet"):
        TrainLoopCheckpoint(None, None, None, None, None, None, "p", "e", "/tmp", {})


class TestOldStyle(unittest.TestCase):
    def setUp(self):
        self.loop = make_loop(7)

    def test_predictions(self):
        y_pred, y_true, metadata = self.loop.predict_on_train_set()
        self.assertEqual(y_pred.shape, y_true.shape)
        self.assertEqual(metadata["row"], [0, 1, 2, 3, 0, 1, 2])

    def test_wrong_type(self):
        with self.assertRaises(TypeError):
            self.loop.fit(num_epochs=1, callbacks=["no callback"])

    def test_pickle(self):
        self.assertIsInstance(pickle.loads(pickle.dumps(Feed())), Feed)


@pytest.mark.slow
def test_same_seed_same_weights():
    first, second = (train(2).model.weight.detach() for _ in range(2))
    assert torch.equal(first, second)
