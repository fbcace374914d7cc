"""Old and native parts in each other's world: every part in every setting, with a checked effect or a reason.

``cells.py`` runs one cell of the matrix, ``native_parts.py`` and ``old_parts.py`` hold the parts as data, and
``page.py`` writes what the runs gave into the guide: ``python -m tests.both_worlds``.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.both_worlds.{name}"
        for name in (
            "cells", "matrix", "part", "parts_checkpoints", "parts_flags", "parts_loggers", "parts_monitors",
            "parts_refused", "parts_weights", "witness",
        )
    )
)  # fmt: skip
