"""The pages of the migration guide that are written from tables: ``python -m tests.guide`` writes them anew.

Each module but ``markdown`` makes one page, by a function ``page() -> str``.
"""

from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "migration_guide"
PAGES = ("differences", "if_then", "refused")


def text_of(name: str) -> str:
    """Make one page.

    Args:
        name: One of ``PAGES``.

    Returns:
        The text of ``migration_guide/<name>.md``.
    """
    text: str = import_module(f"tests.guide.{name}").page()
    return text


def path_of(name: str) -> Path:
    """Return where a page lies."""
    return FOLDER / f"{name}.md"
