"""A training script as users write it: it says nothing of how it was started, and runs in every way to start it.

``python program.py FOLDER FITS [SETTING=VALUE ...]``; the settings go to ``fit``. What it has after each fit is left in
a file.
"""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from compat import TrainLoop, TTBasicModel


class Net(TTBasicModel):
    """A class of the script itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 8)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.head(torch.tanh(self.encoder(inputs)))


def main() -> None:
    """Train, and leave the result."""
    folder, fits, *given = sys.argv[1:]
    torch.manual_seed(1)
    inputs, targets = torch.randn(24, 3), torch.randn(24, 1)
    model = Net()
    loop = TrainLoop(
        model,
        DataLoader(TensorDataset(inputs, targets), batch_size=2, shuffle=True),
        DataLoader(TensorDataset(inputs[:7], targets[:7]), batch_size=2),
        None,
        torch.optim.Adam(model.parameters(), lr=0.05),
        nn.MSELoss(),
        gpu_mode="ddp",
        quirks=dict.fromkeys(("Q01", "Q18", "Q19", "Q58"), "kept"),
    )
    settings = {key: json.loads(value) for key, value in (word.split("=") for word in given)}
    results = []
    for epochs in range(1, int(fits) + 1):
        trained = loop.fit(num_epochs=epochs, on_gpu=False, backend="gloo", **settings)
        results.append(
            {
                "weights": {name: value.clone() for name, value in trained.state_dict().items()},
                "history": {key: list(values) for key, values in loop.train_history.train_history.items()},
                "predictions": loop.predict_on_validation_set()[0],
            }
        )
    Path(folder, f"results.{os.getpid()}.pickle").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main()
