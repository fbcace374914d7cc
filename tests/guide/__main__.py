"""Writes every generated page of the migration guide."""

from tests.guide import PAGES, path_of, text_of

for name in PAGES:
    path_of(name).write_text(text_of(name), encoding="utf-8")
    print(path_of(name))
