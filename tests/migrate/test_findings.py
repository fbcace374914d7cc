"""Reports are values: what they count, and the exit code."""

import pytest

from compat._surface import STATUSES as OF_THE_TABLE
from compat.migrate.findings import EFFORTS, STATUSES, Finding, Place, Report, Unreadable, effort_of


def finding(status: str = "same", path: str = "a.py", line: int = 1) -> Finding:
    return Finding(Place(path, 0, line, 1), "import", "aitoolbox.X", "aitoolbox.X", status)


def test_statuses_are_those_of_the_table_and_unknown() -> None:
    assert set(STATUSES) == {*OF_THE_TABLE, "unknown"}


def test_every_status_means_an_effort() -> None:
    assert [effort_of(status) for status in STATUSES] == [EFFORTS[0], EFFORTS[1], EFFORTS[2], EFFORTS[2], EFFORTS[2]]


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(()), 0),
        (Report((), findings=(finding(),)), 1),
        (Report((), unreadable=(Unreadable("a", "b"),)), 2),
        (Report((), findings=(finding(),), unreadable=(Unreadable("a", "b"),)), 2),
    ],
)
def test_exit_codes(report: Report, code: int) -> None:
    assert report.exit_code == code


def test_totals() -> None:
    report = Report((), findings=(finding(), finding("later", "b.py"), finding("unknown", "b.py", 2)))
    assert dict(report.statuses) == {"same": 1, "differs": 0, "later": 1, "refused": 0, "unknown": 1}
    assert dict(report.efforts) == {"runs as it is": 1, "needs a look": 0, "does not run": 2}
    assert {path: len(found) for path, found in report.by_file.items()} == {"a.py": 1, "b.py": 2}


def test_places_are_written_as_editors_do() -> None:
    assert str(Place("a.py", 0, 3, 4)) == "a.py:3:4"
    assert str(Place("a.ipynb", 2, 3, 4)) == "a.ipynb:cell 2, line 3:4"
