"""What a Trainer changes in the process around it, and when that is given back."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Surroundings"]


@dataclass(frozen=True)
class _Switch:
    """A switch of the process that a Trainer sets when it is made, and leaves set.

    Attributes:
        read: Returns its state.
        write: Sets it to a state that was read.
        wanted: Returns the state that a Trainer with such arguments sets, ``None`` if it leaves the switch alone.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    wanted: Callable[[Mapping[str, Any]], Any]


_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def _write_benchmark(on: bool) -> None:
    torch.backends.cudnn.benchmark = on


def _wanted_benchmark(asked: Mapping[str, Any]) -> bool | None:
    # What is deterministic need not be the fastest: the Trainer switches the search for that off then.
    given: bool | None = asked.get("benchmark")
    return False if given is None and asked.get("deterministic") else given


def _read_deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _write_deterministic(state: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(state[0], warn_only=state[1])


def _wanted_deterministic(asked: Mapping[str, Any]) -> tuple[bool, bool] | None:
    given = asked.get("deterministic")
    return None if given is None else (bool(given), given == "warn")


def _write_workspace(value: str | None) -> None:
    if value is None:
        os.environ.pop(_CUBLAS, None)
    else:
        os.environ[_CUBLAS] = value


_SWITCHES = (
    _Switch(lambda: torch.backends.cudnn.benchmark, _write_benchmark, _wanted_benchmark),
    _Switch(_read_deterministic, _write_deterministic, _wanted_deterministic),
    # https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility
    _Switch(
        lambda: os.environ.get(_CUBLAS),
        _write_workspace,
        lambda asked: ":4096:8" if asked.get("deterministic") else None,
    ),
)


class Surroundings:
    """The switches of the process as they were before a Trainer came, for the old loop touches none of them.

    A Trainer turns gradients on, sets its own anomaly detection and makes its device the current one, all before the
    first hook. Giving them back there, and not at the end, leaves what the user's hooks set as the user set it. What
    the Trainer was asked for holds while the fit runs, and is undone after it unless a hook has set something else.

    Args:
        asked: What the Trainer is handed as it was given, of which ``detect_anomaly``, ``deterministic`` and
            ``benchmark`` are switches of the process.
    """

    def __init__(self, asked: Mapping[str, Any] | None = None) -> None:
        """Look at the process."""
        self._asked = asked or {}
        self._grad = torch.is_grad_enabled()
        self._anomaly = _anomaly()
        self._switches = [switch.read() for switch in _SWITCHES]
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._interrupt = signal.getsignal(signal.SIGINT)

    def give_back(self) -> None:
        """Set the switches back, but for what was asked for; called in the first hook of the fit."""
        self._set_back(_DETECTING if self._asked.get("detect_anomaly") else self._anomaly)

    def take_over(self) -> None:
        """Keep what the user's hooks have set; called in the last hook of the fit."""
        self._grad = torch.is_grad_enabled()
        if not (self._asked.get("detect_anomaly") and _anomaly() == _DETECTING):
            self._anomaly = _anomaly()
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Undo what the Trainer did after the last hook; called when the fit is over, however it ended."""
        self._set_back(self._anomaly)
        for switch, before in zip(_SWITCHES, self._switches, strict=True):
            wanted = switch.wanted(self._asked)
            # One that is otherwise by now was set by a hook, or the Trainer never came to it.
            if wanted is not None and switch.read() == wanted:
                switch.write(before)
        # Lightning ignores further interrupts once it has met one.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)

    def _set_back(self, anomaly: tuple[Any, ...]) -> None:
        torch.set_grad_enabled(self._grad)
        torch.autograd.set_detect_anomaly(*anomaly)
        if self._device is not None:
            torch.cuda.set_device(self._device)


# On, and looking for values that are no numbers.
_DETECTING = (True, True)


def _anomaly() -> tuple[Any, ...]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
