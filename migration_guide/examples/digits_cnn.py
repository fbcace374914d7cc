"""Handwritten digits with a small convolutional network.

Validation and test loaders, a learning rate schedule, gradient clipping and early stopping. An AIToolbox program as it
was written, to the letter. The data comes with scikit-learn.
"""

import torch
from aitoolbox.torchtrain.callbacks.basic import EarlyStopping
from aitoolbox.torchtrain.callbacks.gradient import GradNormClip
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.schedulers.basic import StepLRScheduler
from aitoolbox.torchtrain.train_loop import *
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitsCNN(TTModel):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        )
        self.classifier = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))

    def get_loss(self, batch_data, criterion, device):
        images, labels = (element.to(device) for element in batch_data)
        return criterion(self(images), labels)

    def get_predictions(self, batch_data, device):
        images, labels = batch_data
        return self(images.to(device)).argmax(dim=1).cpu(), labels, {}


def main():
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    data = TensorDataset(images, torch.tensor(labels))
    train_data, val_data, test_data = random_split(data, [1197, 300, 300])

    model = DigitsCNN()
    loop = TrainLoop(
        model,
        DataLoader(train_data, batch_size=32, shuffle=True),
        DataLoader(val_data, batch_size=100),
        DataLoader(test_data, batch_size=100),
        torch.optim.Adam(model.parameters(), lr=3e-3),
        nn.CrossEntropyLoss(),
    )
    callbacks = [
        StepLRScheduler(step_size=4, gamma=0.5),
        GradNormClip(max_grad_norm=1.0),
        EarlyStopping(monitor="val_loss", patience=2),
    ]
    loop.fit(num_epochs=15, callbacks=callbacks)

    for epoch, (train_loss, val_loss) in enumerate(zip(loop.train_history["loss"], loop.train_history["val_loss"])):
        print(f"epoch {epoch}: loss {train_loss:.4f}, validation loss {val_loss:.4f}")
    predicted, true, _ = loop.predict_on_test_set()
    print(f"test loss {loop.train_history['train_end_test_loss'][-1]:.4f}")
    print(f"test accuracy {(predicted == true).float().mean().item():.4f}")


if __name__ == "__main__":
    main()
