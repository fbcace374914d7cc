"""``import aitoolbox``, served from the table: old programs run as they are, with the old library absent.

How an import travels::

    compat.install()  or  python -m compat run PROGRAM  or  %load_ext compat
        importing.py   a finder in front of all others, and the import handed on to child interpreters
        served.py      a module of AIToolbox: a name is looked up in ours when it is first asked for
        runner.py      runs a program as plain python would, and reports
        report.py      what the ledger saw -> rows, a table, JSON
        notebook.py    the same for a notebook
"""
