"""What only a CUDA device can show: ``python -m tests.gpu --reference PYTHON`` prints a table of it.

How the parts hang together::

    tasks        networks, data, and a loop written by hand
    worker       one run in a process of its own: of a loop by hand, of this package, or of the reference
    __main__     compares the runs, and prints the table

Without a CUDA device the same programs run on the CPU, as far as they can: it shows that they work.
"""
