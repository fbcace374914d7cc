"""What a Trainer changes in the process around it, and when that is given back."""

import signal
import threading
from typing import Any

import torch

__all__ = ["Surroundings"]


class Surroundings:
    """The switches of the process as they were before a Trainer came, for the old loop touches none of them.

    A Trainer turns gradients on, sets its own anomaly detection and makes its device the current one, all before the
    first hook. Giving them back there, and not at the end, leaves what the user's hooks set as the user set it.
    """

    def __init__(self) -> None:
        """Look at the process."""
        self._grad = torch.is_grad_enabled()
        self._anomaly = _anomaly()
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._interrupt = signal.getsignal(signal.SIGINT)

    def give_back(self) -> None:
        """Set the switches back; called in the first hook of the fit."""
        torch.set_grad_enabled(self._grad)
        torch.autograd.set_detect_anomaly(*self._anomaly)
        if self._device is not None:
            torch.cuda.set_device(self._device)

    def take_over(self) -> None:
        """Keep what the user's hooks have set; called in the last hook of the fit."""
        self._grad, self._anomaly = torch.is_grad_enabled(), _anomaly()
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Undo what the Trainer did after the last hook; called when the fit is over, however it ended."""
        self.give_back()
        # Lightning ignores further interrupts once it has met one.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)


def _anomaly() -> tuple[Any, ...]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
