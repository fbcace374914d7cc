"""Handwritten digits with callbacks of AIToolbox and of Lightning in one fit, and a logger of Lightning.

The half-way house: a program of AIToolbox whose schedule, clipping and metrics are still its own, while early stopping,
checkpoints, the log of the learning rate and the table of metrics are Lightning's. The data comes with scikit-learn.
"""

import csv
import tempfile
from pathlib import Path

import torch
from aitoolbox.experiment.result_package.basic_packages import ClassificationResultPackage
from aitoolbox.torchtrain.callbacks.gradient import GradNormClip
from aitoolbox.torchtrain.callbacks.performance_eval import ModelPerformanceEvaluation
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.schedulers.basic import StepLRScheduler
from aitoolbox.torchtrain.train_loop import TrainLoop
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


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


def main(folder):
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels))
    train_data, val_data, test_data = random_split(data, [1197, 300, 300])

    model = Digits()
    logger = CSVLogger(folder, name="digits")
    best = ModelCheckpoint(Path(folder) / "best", monitor="val_Accuracy", mode="max")
    loop = TrainLoop(
        model,
        DataLoader(train_data, batch_size=32, shuffle=True),
        DataLoader(val_data, batch_size=100),
        DataLoader(test_data, batch_size=100),
        torch.optim.Adam(model.parameters(), lr=1e-2),
        nn.CrossEntropyLoss(),
        lightning_args={"logger": logger},
    )
    callbacks = [
        best,
        StepLRScheduler(step_size=4, gamma=0.5),
        EarlyStopping(monitor="val_loss", patience=2),
        GradNormClip(max_grad_norm=1.0),
        LearningRateMonitor(logging_interval="epoch"),
        ModelPerformanceEvaluation(ClassificationResultPackage(), {}, on_train_data=False),
    ]
    loop.fit(num_epochs=20, callbacks=callbacks)

    for row in logged(logger):
        print(f"epoch {row['epoch']}: validation loss {row['val_loss']:.4f}, accuracy {row['val_Accuracy']:.4f}")
    print(f"best accuracy {best.best_model_score.item():.4f}")
    weights = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in weights.items()})
    predicted, true, _ = loop.predict_on_test_set()
    print(f"test accuracy {(predicted == true).float().mean().item():.4f}")


def logged(logger):
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            if row["val_loss"]:
                yield {"epoch": int(row["epoch"]), **{name: float(row[name]) for name in ("val_loss", "val_Accuracy")}}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
