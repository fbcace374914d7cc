"""Which of the checked files an import leads to."""

import pytest

from compat.migrate.project import Project
from compat.migrate.values import NOTHING, Facts, InProject, Outside

FILES = ["/r/train.py", "/r/pkg/__init__.py", "/r/pkg/a.py", "/r/pkg/sub/b.py", "/r/src/lib.py", "/r/pkg/lib.py"]


@pytest.mark.parametrize(
    ("importer", "dotted", "level", "expected"),
    [
        ("/r/train.py", "pkg", 0, "/r/pkg"),
        ("/r/train.py", "pkg.a", 0, "/r/pkg/a"),
        ("/r/train.py", "pkg.sub.b", 0, "/r/pkg/sub/b"),
        ("/r/train.py", "lib", 0, "/r/src/lib"),
        ("/r/pkg/a.py", "lib", 0, "/r/pkg/lib"),
        ("/r/pkg/sub/b.py", "pkg.a", 0, "/r/pkg/a"),
        ("/r/pkg/sub/b.py", "a", 2, "/r/pkg/a"),
        ("/r/pkg/a.py", "", 1, "/r/pkg"),
        ("/r/pkg/a.py", "sub", 1, "/r/pkg/sub"),
        ("/r/train.py", "numpy", 0, None),
        ("/r/train.py", "pkg.c", 0, None),
        ("/r/train.py", "c", 1, None),
        ("/q/other.py", "pkg", 0, None),
    ],
)
def test_where_an_import_leads(importer: str, dotted: str, level: int, expected: str | None) -> None:
    found = Project(FILES).resolve(importer, dotted, level)
    assert found == (InProject(expected) if expected else None)


def test_a_dotted_import_binds_the_first_package() -> None:
    project = Project(FILES)
    assert project.packages("/r/train.py", "pkg.sub.b") == InProject("/r/pkg")
    assert project.packages("/r/train.py", "os.path") is None


def test_a_name_comes_before_a_module_of_the_same_name() -> None:
    project, facts = Project(FILES), Facts()
    assert project.attribute("/r/pkg", "a", facts) == {InProject("/r/pkg/a")}
    facts.names[("/r/pkg/__init__.py", 0, 0, "")] = {"a": {Outside("numpy")}}
    assert project.attribute("/r/pkg", "a", facts) == {Outside("numpy")}
    assert project.attribute("/r/pkg", "nothing", facts) == NOTHING
