"""Writes the page of the guide: ``python -m tests.both_worlds``."""

import contextlib
import io

from tests.both_worlds.page import PATH, absent, text

if missing := absent():
    raise SystemExit("The page needs all parts: " + "; ".join(missing))
with contextlib.redirect_stdout(io.StringIO()):
    written = text()
PATH.write_text(written, encoding="utf-8")
print(PATH)
