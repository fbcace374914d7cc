"""Guards round every test: whoever leaves something behind fails, and not the test that comes after.

What the next test could trip over is noted before a test and compared after it. The global random state is not
compared, since every training draws from it; it is put back, so that no result depends on the order of the tests.
"""

import multiprocessing
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from tests.parity import reference

# Written by pytest, by Lightning when it is imported, and by torch when its compiler is.
OWN_VARIABLES = frozenset({"PYTEST_CURRENT_TEST", "PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR"})
# tqdm keeps one monitor for the life of the process, execnet (pytest-xdist) its own receiver.
OWN_THREADS = ("TMonitor", "tqdm_monitor", "execnet")
# Caches of the tools, and the environment that tests/parity installs: another worker of pytest-xdist may make them.
OWN_FILES = frozenset({".pytest_cache", "__pycache__", ".coverage", ".reference-env", ".reference-env.lock"})


@dataclass(frozen=True)
class State:
    """What a test must leave as it was."""

    variables: Mapping[str, str]
    threads: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]
    directory: str
    torch_flags: Mapping[str, Any]

    @classmethod
    def now(cls) -> "State":
        """Look at this process."""
        return cls(
            variables={name: value for name, value in os.environ.items() if name not in OWN_VARIABLES},
            threads=frozenset(
                f"{thread.name} ({type(thread).__name__})"
                for thread in threading.enumerate()
                if not any(own in f"{thread.name} {type(thread).__name__}" for own in OWN_THREADS)
            ),
            processes=frozenset(child.name for child in multiprocessing.active_children()),
            files=frozenset(entry.name for entry in Path().iterdir() if entry.name not in OWN_FILES),
            directory=str(Path.cwd()),
            torch_flags=torch_flags(),
        )

    def left_behind(self, after: "State") -> list[str]:
        """Name what is different after the test, one line each."""
        problems = []
        for field in fields(self):
            old, new = getattr(self, field.name), getattr(after, field.name)
            if isinstance(old, Mapping):
                changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
                problems += [f"{field.name}: {key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed]
            elif isinstance(old, frozenset):
                problems += [f"{field.name}: {name} is new" for name in sorted(new - old)]
            elif old != new:
                problems.append(f"{field.name}: was {old!r}, is {new!r}")
        return problems


def torch_flags() -> dict[str, Any]:
    """Read the global switches of torch; none where no test has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "distributed"):
        return {}
    distributed = torch.distributed
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "autocast on the CPU": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "process group": distributed.is_available() and distributed.is_initialized(),
        "threads": torch.get_num_threads(),
    }


def random_state() -> Callable[[], None]:
    """Note the global random state of every library that is loaded.

    Returns:
        A function that puts it back.
    """
    python = random.getstate()
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    of_torch = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    of_numpy = numpy.random.get_state() if numpy is not None and hasattr(numpy, "random") else None

    def put_back() -> None:
        random.setstate(python)
        if torch is not None and of_torch is not None:
            torch.set_rng_state(of_torch)
        if numpy is not None and of_numpy is not None:
            numpy.random.set_state(of_numpy)

    return put_back


@pytest.fixture(scope="session")
def reference_python() -> Path:
    """Return the Python that runs the old library; it is built if need be, and the test skipped where it cannot be."""
    try:
        return reference.prepare()
    except reference.ReferenceUnavailableError as error:
        pytest.skip(f"the old library cannot run here: {error}")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves variables, threads, processes, files or switches behind."""
    before, put_back = State.now(), random_state()
    yield
    put_back()
    after = State.now()
    if not before.torch_flags:
        # torch was first loaded by this test, so there is nothing to compare its switches with.
        after = State(**{**vars(after), "torch_flags": {}})
    problems = before.left_behind(after)
    if problems:
        pytest.fail("This test leaves something behind:\n  " + "\n  ".join(problems), pytrace=False)


@pytest.fixture(autouse=True)
def quirks_as_they_come(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test with the switches of nobody's shell, and forget those that it set."""
    for name in ("COMPAT_QUIET", "COMPAT_QUIRKS"):
        monkeypatch.delenv(name, raising=False)
    yield
    loaded = sys.modules.get("compat.quirks")
    if loaded is not None:
        loaded.reset()
    console = sys.modules.get("compat._console")
    if console is not None:
        console.verbose(True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a folder together that look at the same fits: each worker would run those fits again."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        folder = next((part for part in ("ddp", "ddp_failures") if part in item.path.parts), None)
        if folder is not None:
            item.add_marker(pytest.mark.xdist_group(folder))
