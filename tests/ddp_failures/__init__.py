"""Whole fits with ``gpu_mode='ddp'`` that go wrong: what the program is told, how soon, and what is left behind.

How the parts hang together::

    faults    models, callbacks and data sets with which one process of a fit fails, each in its own way
    watching  what a fit leaves behind, and programs that run in a process group of their own
    program   a training script that signals are sent to

To start two workers takes seconds, so no more fits are run than there are ways to fail, and one after another in one
process wherever the parent survives.
"""
