"""An old program, as its users wrote it: every import line is the old one."""

import sys

import torch
from aitoolbox.torchtrain.callbacks.basic import EarlyStopping
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.train_loop import *
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(TTModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

    def get_loss(self, batch_data, criterion, device):
        x, y = batch_data
        return criterion(self(x.to(device)), y.to(device))

    def get_predictions(self, batch_data, device):
        x, y = batch_data
        return self(x.to(device)).argmax(1), y, {}


def main():
    torch.manual_seed(1)
    data = TensorDataset(torch.randn(10, 4), torch.randint(0, 2, (10,)))
    model = Net()
    loop = TrainLoop(
        model,
        DataLoader(data, batch_size=4),
        DataLoader(data, batch_size=5),
        None,
        torch.optim.SGD(model.parameters(), lr=0.1),
        nn.CrossEntropyLoss(),
    )
    loop.fit(num_epochs=3, callbacks=[EarlyStopping("val_loss")])
    loop.predict_on_validation_set()
    if "stale" in sys.argv:
        loop.loss_batch_accum.append(1.0)
        loop.fit(num_epochs=4)


if __name__ == "__main__":
    main()
