"""Training in several processes: how they start, keep in step, share results, and end. Knows torch, never Lightning.

==========  ============================================================================================
fit         the fit as the process sees it that starts the workers
errand      the layout of the processes, and what each worker is sent to do
luggage     what goes to a worker: pickled by value, data sets by shared memory
launch      the workers: started by torch's elastic launcher, and ended
failures    what a failing worker leaves behind; ``culprit`` decides whose fault it was
worker      what one process does, a worker or one that a cluster has started
home        what comes back, along the paths of ``graph``
ranks       this process among the others: exchange and streams, on ``lockstep``, ``parcels`` and ``positions``
dealing     a rank's part of a loader, cut by the samplers of ``parts``
together    an evaluation by all processes
gradients   the wrapper round the model, averages by hand, the guard against drift
sharding    the wrapper that spreads the weights as well; ``calls`` is what both have in common
==========  ============================================================================================
"""
