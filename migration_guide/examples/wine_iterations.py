"""Wine cultivars: a plain ``nn.Module`` with a feed definition, trained for a number of iterations.

The gradients of three batches are added up before each step, and the learning rate warms up and then falls. An
AIToolbox program as it was written, to the letter. The data comes with scikit-learn.
"""

import torch
from aitoolbox import AbstractCallback, LinearWithWarmupScheduler
from aitoolbox.torchtrain.data.batch_model_feed_defs import AbstractModelFeedDefinition
from aitoolbox.torchtrain.data.dataset import ListDataset
from aitoolbox.torchtrain.model import ModelWrap
from aitoolbox.torchtrain.train_loop import TrainLoop
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader

NUM_ITERATIONS = 240
GRAD_ACCUMULATION = 3


class WineFeed(AbstractModelFeedDefinition):
    def get_loss(self, model, batch_data, criterion, device):
        measurements, cultivar = batch_data
        return criterion(model(measurements.to(device)), cultivar.to(device))

    def get_predictions(self, model, batch_data, device):
        measurements, cultivar = batch_data
        return model(measurements.to(device)).argmax(dim=1).cpu(), cultivar, {}


class ValidationAccuracy(AbstractCallback):
    def __init__(self):
        super().__init__("Accuracy on the validation set")

    def on_epoch_end(self):
        predicted, true, _ = self.train_loop_obj.predict_on_validation_set()
        accuracy = (predicted == true).float().mean().item()
        self.train_loop_obj.insert_metric_result_into_history("val_accuracy", accuracy)


def main():
    torch.manual_seed(0)
    measurements, cultivar = load_wine(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        measurements, cultivar, test_size=0.3, random_state=0, stratify=cultivar
    )
    scaler = StandardScaler().fit(train_x)
    train_x, val_x = (torch.tensor(scaler.transform(x), dtype=torch.float32) for x in (train_x, val_x))

    model = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))
    loop = TrainLoop(
        ModelWrap(model, WineFeed()),
        DataLoader(ListDataset(train_x, torch.tensor(train_y)), batch_size=8, shuffle=True),
        DataLoader(ListDataset(val_x, torch.tensor(val_y)), batch_size=54),
        None,
        torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9),
        nn.CrossEntropyLoss(),
    )
    warmup = LinearWithWarmupScheduler(num_warmup_steps=10, num_training_steps=NUM_ITERATIONS // GRAD_ACCUMULATION)
    loop.fit(
        num_iterations=NUM_ITERATIONS, callbacks=[warmup, ValidationAccuracy()], grad_accumulation=GRAD_ACCUMULATION
    )

    history = loop.train_history
    print(f"trained {loop.total_iteration_idx + 1} iterations in {len(history['loss'])} epochs")
    print(f"loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.4f}")
    print(f"validation accuracy {history['val_accuracy'][-1]:.4f}")


if __name__ == "__main__":
    main()
