"""Handwritten digits with two heads: which digit it is, and how much ink it took.

Two losses and two optimizers, one for each head; the second also trains the shared layers. An AIToolbox program as it
was written, to the letter. The data comes with scikit-learn.

AIToolbox reported these two losses under each other's names, since it sorted the names and not the values.
"""

import aitoolbox.torchtrain as tt
import torch
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.multi_loss_optim import MultiLoss, MultiOptimizer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class TwoHeads(TTModel):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.ink = nn.Linear(64, 1)
        self.digit = nn.Linear(64, 10)

    def forward(self, pixels):
        features = self.shared(pixels)
        return self.digit(features), self.ink(features).squeeze(1)

    def get_loss(self, batch_data, criterion, device):
        pixels, digit, ink = (element.to(device) for element in batch_data)
        digit_scores, ink_guess = self(pixels)
        return MultiLoss(
            {"ink": F.mse_loss(ink_guess, ink), "digit": F.cross_entropy(digit_scores, digit)},
            loss_optimizer_map={"ink": 0, "digit": 1},
        )

    def get_predictions(self, batch_data, device):
        pixels, digit, ink = batch_data
        digit_scores, ink_guess = self(pixels.to(device))
        return digit_scores.argmax(dim=1).cpu(), digit, {"ink_error": (ink_guess.cpu() - ink).abs()}


def main():
    torch.manual_seed(0)
    pixels, digit = load_digits(return_X_y=True)
    pixels = torch.tensor(pixels, dtype=torch.float32) / 16
    data = TensorDataset(pixels, torch.tensor(digit), pixels.mean(dim=1))
    train_data, test_data = random_split(data, [1397, 400])

    model = TwoHeads()
    optimizers = MultiOptimizer(
        [
            torch.optim.SGD(model.ink.parameters(), lr=0.01),
            torch.optim.Adam([*model.shared.parameters(), *model.digit.parameters()], lr=3e-3),
        ]
    )
    loop = tt.TrainLoop(
        model,
        DataLoader(train_data, batch_size=32, shuffle=True),
        None,
        DataLoader(test_data, batch_size=100),
        optimizers,
        None,
    )
    loop.fit(num_epochs=8)

    history = loop.train_history
    for name in ("digit", "ink"):
        losses = history[f"loss_{name}"]
        print(f"{name} loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    predicted, true, metadata = loop.predict_on_test_set()
    print(f"mean error of the ink {metadata['ink_error'].mean().item():.4f}")
    print(f"test accuracy {(predicted == true).float().mean().item():.4f}")


if __name__ == "__main__":
    main()
