"""Whole fits with ``gpu_mode='ddp'``, against a loop written by hand, and against what the reference does.

How the parts hang together::

    models        small networks, on the base classes of this package or of the reference
    cases         a network, its data, an optimizer and how long to train: written once, run by each of the following
    by_hand       the loop, in processes of its own, on torch alone
    reference     the reference, each process with a loop of its own, and the record of what came out
    fits          this package, in processes that torchrun started: all cases in one start
    exactness     evaluations inside such a fit, collected on every rank, and what one process says
    watchers      callbacks that leave notes for the tests
    program       a training script as users write it, to be started in every way that there is
    processes     starts programs, looks for free ports, and for what is left behind

To start a process that trains takes seconds, so each start does many things, and the tests look at what it left.
"""
