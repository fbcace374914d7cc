"""The environment that holds AIToolbox 1.8.0: built once beside the repository's own, with the very same torch.

``COMPAT_REFERENCE_ENV`` names another folder, such as a prepared environment; ``COMPAT_REFERENCE=off`` does without.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from filelock import FileLock

VERSION = "1.8.0"
ROOT = Path(__file__).resolve().parents[2]
STAMP = "parity-stamp.json"
FOLDER_VARIABLE = "COMPAT_REFERENCE_ENV"
SWITCH_VARIABLE = "COMPAT_REFERENCE"
# What importing the old library needs. Its own pins contradict each other today, hence --no-deps for the library.
NEEDED = (
    "boto3",
    "google-cloud-storage",
    "matplotlib",
    "pandas",
    "scikit-learn",
    "seaborn",
    "tensorboard",
    "tqdm",
    "wandb",
)
_CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
_INSTALL_SECONDS = 1800
_PROBE = (
    "import json, importlib.metadata as m; from aitoolbox.torchtrain.train_loop import TrainLoop; "
    "print(json.dumps({name: m.version(name) for name in ('torch', 'numpy', 'aitoolbox')}))"
)


class ReferenceUnavailableError(Exception):
    """The reference cannot run here; the message says why."""


def folder() -> Path:
    """Where the environment is, or will be."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ROOT / ".reference-env")


def wanted_versions() -> dict[str, str]:
    """The versions that make a comparison meaningful: those of the running interpreter."""
    return {
        "torch": importlib.metadata.version("torch"),
        "numpy": importlib.metadata.version("numpy"),
        "aitoolbox": VERSION,
    }


def interpreter(environment: Path) -> Path:
    """The Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare() -> Path:
    """The Python of a complete reference environment, which is built if need be.

    Raises:
        ReferenceUnavailableError: it is switched off, or cannot be installed here.
    """
    if os.environ.get(SWITCH_VARIABLE, "").lower() == "off":
        raise ReferenceUnavailableError(f"switched off by {SWITCH_VARIABLE}=off")
    environment = folder()
    if _stamped(environment):
        return interpreter(environment)
    environment.parent.mkdir(parents=True, exist_ok=True)
    # Several processes of one test run ask at the same time; the first one builds.
    with FileLock(environment.with_name(f"{environment.name}.lock")):
        return _prepared(environment)


def _prepared(environment: Path) -> Path:
    python = interpreter(environment)
    if _stamped(environment) or _works(python):
        return python
    if os.environ.get(FOLDER_VARIABLE) and python.exists():
        raise ReferenceUnavailableError(
            f"{environment} does not hold {wanted_versions()}; remove {FOLDER_VARIABLE} to have an environment built"
        )
    _build(environment)
    if not _works(python):
        raise ReferenceUnavailableError(
            f"the library does not import in {environment} although everything was installed"
        )
    _stamp(environment)
    return python


def _stamped(environment: Path) -> bool:
    """A stamp is written last, so its presence says that everything before it was finished."""
    stamp = environment / STAMP
    return stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted_versions()


def _stamp(environment: Path) -> None:
    unfinished = environment / f"{STAMP}.unfinished"
    unfinished.write_text(json.dumps(wanted_versions()), encoding="utf-8")
    unfinished.replace(environment / STAMP)


def _works(python: Path) -> bool:
    """Whether the library imports there, beside the wanted versions of torch and numpy."""
    if not python.exists():
        return False
    probe = subprocess.run([str(python), "-c", _PROBE], capture_output=True, text=True, check=False, cwd=ROOT)
    return probe.returncode == 0 and json.loads(probe.stdout.splitlines()[-1]) == wanted_versions()


def _build(environment: Path) -> None:
    versions = wanted_versions()
    # Installing over the environment of an older torch would leave a mixture behind.
    venv.create(environment, with_pip=True, clear=True)
    pip = [str(interpreter(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--timeout", "20", "--retries", "2"]
    torch_and_numpy = [f"torch=={versions['torch']}", f"numpy=={versions['numpy']}"]
    try:
        _install([*pip, *torch_and_numpy])
    except ReferenceUnavailableError:
        # Builds for the CPU alone are on PyTorch's own index; asking it first would be slow where it is out of reach.
        if not versions["torch"].endswith("+cpu"):
            raise
        _install([*pip, "--extra-index-url", _CPU_WHEELS, *torch_and_numpy])
    _install([*pip, *NEEDED])
    _install([*pip, "--no-deps", f"aitoolbox=={VERSION}"])


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ReferenceUnavailableError(f"installing took longer than {_INSTALL_SECONDS} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ReferenceUnavailableError(f"installing failed: {last}")


if __name__ == "__main__":
    sys.stdout.write(f"{prepare()}\n")
