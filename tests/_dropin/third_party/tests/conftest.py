import pytest
from aitoolbox.torchtrain.callbacks.basic import EarlyStopping
from shop.training import make_loop


@pytest.fixture
def loop():
    return make_loop()


@pytest.fixture(params=[0, 2])
def stopping(request):
    return EarlyStopping("val_loss", patience=request.param)
