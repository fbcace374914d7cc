"""Differential tests: the same programs run on AIToolbox 1.8.0 and on this package, and every observable is compared.

On this package they run twice: by its own name, and with the old import paths through ``python -m compat run``.

How the parts hang together::

    spec          Program: a frozen, readable description of one training script
    generate      covering set of programs from axes (model x optimizer x data x schedule x callbacks ...)
    specials      hand-written programs for the corners no axis reaches (one module a theme)
    catalogue     all of them, the smoke part, and the cut into parts
    backend       the names of either library behind one object
    execute       builds a Program on a backend, runs it, observes it     (data, models, parts_*, observe)
    worker        command line round execute: one process, one shard, one JSON file
    compare       two observations -> list of differences, exact or within a tolerance
    corrections   what is expected where the reference is known to be wrong, by quirk id
    reference     the virtual environment that holds AIToolbox 1.8.0
    records       recorded observations of the reference, for places where it cannot be installed

Nothing in this package imports pytest except ``conftest`` and the ``test_*`` modules, because the worker also runs in
the reference's environment, which holds only what the old library needs.
"""
