"""The printed listing of callbacks, line by line as the old library prints it."""

import pytest
import torch

from compat import EarlyStopping, GradNormClip, StepLRScheduler
from compat.callbacks.handler import CallbacksHandler
from tests.callbacks.test_handler import Ends, handler_of

LISTING = """\
CALLBACKS
At on_epoch_begin:

At on_epoch_end:
\tb: <class 'tests.callbacks.test_handler.Ends'>, execution_order: 0
\t: <class 'aitoolbox.torchtrain.schedulers.basic.StepLRScheduler'>, execution_order: 0
\ta: <class 'tests.callbacks.test_handler.Ends'>, execution_order: 5
\tEarlyStopping: <class 'aitoolbox.torchtrain.callbacks.basic.EarlyStopping'>, execution_order: 99
At on_train_begin:

At on_train_end:

At on_batch_begin:

At on_batch_end:

At on_after_gradient_update:
\tGradient norm clipping: <class 'aitoolbox.torchtrain.callbacks.gradient.GradNormClip'>, execution_order: 0
At on_after_optimizer_step:

At on_multiprocess_start:

At cbs_on_after_batch_prediction:


"""


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    handler = handler_of()
    callbacks = [Ends("a", 5), Ends("b"), EarlyStopping(), GradNormClip(1.0), StepLRScheduler(1)]
    handler.register_callbacks(callbacks, print_callbacks=True)
    assert capsys.readouterr().out == LISTING
    assert f"{handler}\n" == LISTING


def test_listing_names_the_device_under_ddp(capsys: pytest.CaptureFixture[str]) -> None:
    handler = handler_of()
    handler.train_loop_obj.ddp_training_mode = True
    handler.train_loop_obj.device = torch.device("cuda:1")
    handler.print_registered_callback_names()
    assert capsys.readouterr().out.splitlines()[:2] == ["*** On device 1 (cuda:1) ***", "CALLBACKS"]


def test_lines_of_some_callbacks() -> None:
    assert CallbacksHandler.print_callback_info([]) == ""
    assert CallbacksHandler.print_callback_info([EarlyStopping()]) == (
        "\tEarlyStopping: <class 'aitoolbox.torchtrain.callbacks.basic.EarlyStopping'>, execution_order: 99"
    )


def test_a_class_of_the_users_keeps_its_own_path() -> None:
    class Own(EarlyStopping):
        pass

    assert f"<class '{__name__}.test_a_class_of_the_users_keeps_its_own_path.<locals>.Own'>" in (
        CallbacksHandler.print_callback_info([Own()])
    )
