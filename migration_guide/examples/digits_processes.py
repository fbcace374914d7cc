"""Handwritten digits in two processes, each with half of the training batches.

Each process loads the data itself, the first one reports, and metrics are computed over what all of them predicted. An
AIToolbox program as it was written, to the letter, for a machine without GPUs; with two of them ``num_gpus=2`` is
enough. The data comes with scikit-learn.
"""

import torch
from aitoolbox.experiment.result_package.basic_packages import ClassificationResultPackage
from aitoolbox.torchtrain.callbacks.abstract import AbstractCallback
from aitoolbox.torchtrain.callbacks.ddp import InMultiProcessDataLoad
from aitoolbox.torchtrain.callbacks.gradient import GradNormClip
from aitoolbox.torchtrain.callbacks.performance_eval import ModelPerformanceEvaluation
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.schedulers.basic import StepLRScheduler
from aitoolbox.torchtrain.train_loop import TrainLoop
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Digits(TTModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, pixels):
        return self.layers(pixels)

    def get_loss(self, batch_data, criterion, device):
        pixels, labels = (element.to(device) for element in batch_data)
        return criterion(self(pixels), labels)

    def get_predictions(self, batch_data, device):
        pixels, labels = batch_data
        return self(pixels.to(device)).argmax(dim=1).cpu(), labels, {}


class Report(AbstractCallback):
    def __init__(self):
        super().__init__("Accuracy after each epoch", execution_order=1, device_idx_execution=0)

    def on_epoch_end(self):
        accuracy = self.train_loop_obj.train_history["val_Accuracy"][-1]
        print(f"epoch {self.train_loop_obj.epoch}: validation accuracy {accuracy:.4f}")


class TestAccuracy(AbstractCallback):
    def __init__(self):
        super().__init__("Accuracy on the test set")

    def on_train_end(self):
        predicted, true, _ = self.train_loop_obj.predict_on_test_set()
        if self.train_loop_obj.is_main_process():
            print(f"test accuracy {(predicted == true).float().mean().item():.4f} over {len(true)} digits")


def loader(begin, end, shuffle=False):
    pixels, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(pixels[begin:end], dtype=torch.float32) / 16, torch.tensor(labels[begin:end]))
    return DataLoader(data, batch_size=16, shuffle=shuffle)


def train_loader():
    return loader(0, 1197, shuffle=True)


def val_loader():
    return loader(1197, 1497)


def test_loader():
    return loader(1497, 1797)


def main():
    torch.manual_seed(0)
    model = Digits()
    loop = TrainLoop(
        model,
        None,
        None,
        None,
        torch.optim.Adam(model.parameters(), lr=5e-3),
        nn.CrossEntropyLoss(),
        gpu_mode="ddp",
    )
    callbacks = [
        GradNormClip(max_grad_norm=1.0),
        StepLRScheduler(step_size=4, gamma=0.5),
        ModelPerformanceEvaluation(ClassificationResultPackage(), {}, on_train_data=False),
        Report(),
        TestAccuracy(),
    ]
    loop.fit(
        num_epochs=6,
        callbacks=callbacks,
        in_process_data_load=[InMultiProcessDataLoad(train_loader, val_loader, test_loader)],
        num_gpus=2,
        backend="gloo",
        on_gpu=False,
    )


if __name__ == "__main__":
    main()
