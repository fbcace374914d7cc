"""Importing the package is cheap, and its heavy parts come when they are used."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "pytorch_lightning", "numpy", "tqdm", "torchmetrics", "sklearn")


def loaded_by(code: str) -> list[str]:
    """Run code in a fresh interpreter and name the heavy packages that it loaded."""
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import compat; compat.__version__; dir(compat)",
        "import compat; compat.verbose(False); compat.verbose(True)",
        "import compat; compat.quirks.set(Q01='fixed')",
        "from compat import quirks, verbose",
        "import compat.exceptions",
        "import compat.cli; compat.cli.main([]) and None",
        "import compat; hasattr(compat, 'no_such_name')",
    ],
)
def test_light_parts_load_nothing_heavy(code: str) -> None:
    assert loaded_by(f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    {code}") == []


@pytest.mark.parametrize("name", ["MultiLoss", "AbstractCallback", "TrainingHistory", "MessageService", "TTModel"])
def test_parts_that_need_no_trainer_do_not_load_lightning(name: str) -> None:
    assert "lightning" not in loaded_by(f"from compat import {name}")


def test_control_heavy_packages_are_seen() -> None:
    assert "torch" in loaded_by("import torch")


def test_star_import_brings_the_public_names() -> None:
    code = "from compat import *; import compat; print(*sorted(set(compat.__all__) - set(globals())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
