"""The way out: reading programs that use AIToolbox, without running them.

The data flow of a check::

    paths -> sources.py    which files, and their text            (notebooks.py: the code cells of a notebook)
          -> project.py    which files import which               (neighbours.py: those that nobody named)
          -> statements.py one file, statement by statement       (scopes.py, imports.py, narrowing.py)
          -> expressions.py what an expression may be             (values.py, containers.py, calls.py, dynamic.py)
          -> recorder.py   a use of the old API -> a finding      (names.py, own.py, arguments.py: what the table says)
          -> runner.py     findings, remarks, unreadable files -> one report, a value
          -> report.py, html.py                                   text, JSON and a page

Nothing here imports torch, Lightning or the code that it reads.
"""

from compat.migrate.findings import Finding, Remark, Report, Unreadable
from compat.migrate.runner import check

__all__ = ["Finding", "Remark", "Report", "Unreadable", "check"]
