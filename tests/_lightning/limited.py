"""Loops with limits, and loaders that tell what was asked of them."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset

from tests.toys import Linear, batches, make_loop

# Said once where they matter; here they do not.
KEPT = {"Q01": "kept", "Q11": "kept", "Q13": "kept", "Q18": "kept", "Q19": "kept", "Q102": "kept"}


def loop_of(limits: dict[str, Any], train: Any, validation: Any = None, test: Any = None, **options: Any) -> Any:
    """Make a loop with limits."""
    given = {"validation": validation, "test": test, "quirks": KEPT, **options}
    return make_loop(given.pop("model", None), train, lightning_args={"accelerator": "cpu", **limits}, **given)


def loaders_of(loop: Any) -> list[Any]:
    """Return the loop's three loaders."""
    return [loop.train_loader, loop.validation_loader, loop.test_loader]


class Seen(Linear):
    """Notes the first feature of every row that it is trained and evaluated on."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__()
        self.trained: list[list[float]] = []
        self.evaluated: list[list[float]] = []

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Note."""
        self.trained.append(batch_data[0][:, 0].tolist())
        return super().get_loss(batch_data, criterion, device)

    def get_loss_eval(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Note."""
        self.evaluated.append(batch_data[0][:, 0].tolist())
        return super().get_loss(batch_data, criterion, device)


class Sized:
    """A loader that can be iterated and counted."""

    def __init__(self, items: list[Any]) -> None:
        """Keep the batches."""
        self.items = items
        self.opened = 0
        self.given = 0

    def __len__(self) -> int:
        """Count."""
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        """Open."""
        self.opened += 1
        for item in self.items:
            self.given += 1
            yield item


class Stream(IterableDataset[Any]):
    """Rows one by one, without a length."""

    def __iter__(self) -> Iterator[Any]:
        """Read."""
        return iter(zip(*ROWS, strict=True))


ROWS = batches(1, 12)[0]
PARTS = list(zip(ROWS[0].chunk(6), ROWS[1].chunk(6), strict=True))
