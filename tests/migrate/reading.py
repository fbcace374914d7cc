"""What the tests of this folder share: small programs to read, and findings written short."""

import textwrap
from pathlib import Path

from compat._surface import surface
from compat.migrate import Finding, Report, check

TRAIN_LOOP = "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop"


def write(folder: Path, name: str, code: str | bytes) -> Path:
    """Write a file of a made-up project, indented as the test is."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(code if isinstance(code, bytes) else textwrap.dedent(code).lstrip("\n").encode())
    return path


def read(folder: Path, code: str | bytes, name: str = "program.py") -> Report:
    """Check a program of one file."""
    return check([str(write(folder, name, code))])


def uses(folder: Path, code: str | bytes) -> list[str]:
    """Return the findings of a program, each as ``line:column kind name``."""
    report = read(folder, code)
    assert report.unreadable == ()
    return [brief(found) for found in report.findings]


def remarks(folder: Path, code: str) -> list[str]:
    """Return the remarks on a program, each as ``line: text``."""
    return [f"{remark.place.line}: {remark.text}" for remark in read(folder, code).remarks]


def brief(found: Finding) -> str:
    """Write a finding short: names and members without the module that defines them, modules in full."""
    cell = f"[{found.place.cell}] " if found.place.cell else ""
    return f"{cell}{found.place.line}:{found.place.column} {found.kind} {short(found.name)}"


def short(name: str) -> str:
    head, separator, rest = name.partition("(")
    parts = head.split(".")
    for end in range(len(parts), 1, -1):
        if ".".join(parts[:end]) in surface().names:
            return ".".join(parts[end - 1 :]) + separator + rest
    return name
