"""The engine: the only folder that imports Lightning.

===============  =======================================================================
plan             arguments -> one frozen plan; every refusal is made here, with its reason
arguments        the arguments of ``fit``: how long, in which windows, and what ``gpu_mode='dp'`` takes
processes        what ``gpu_mode='ddp'`` takes -> a layout of processes
cluster          which cluster has started this process, if any
flags            ``lightning_args``: what is taken, refused, and where it goes
flag_devices     ... of it accelerator, devices and machines
flag_limits      ... of it how many batches of each set a fit uses
flag_refused     ... of it what the loop decides itself, and how
flag_running     ... of it what the Trainer is handed as it is
flag_strategies  ... of it the strategy, in terms of what the loop does itself
limits           shorter loaders in place of the loop's own, while a fit runs
registration     Lightning's callbacks of a fit, and what becomes of them if it fails
screening        which of Lightning's callbacks will not do, and why
needs            what the others need of the training step: whole epochs, cuts, or every batch
course           where a fit starts and stops, what earlier fits left behind, the quirks along the way
counting         how many epochs and updates a fit makes
trainer          plan -> Trainer, and one fit from its start to its end
module           the hooks and steps of the LightningModule -> the facade's template methods
epoch            an epoch of the facade: how it begins, is evaluated and ends
batch            one batch: the old loop's order of events, and Lightning's round its verbs
steps            the losses and optimizers of one batch: what is refused, and their quirks
tally            what a fit counts once an epoch
bridge           the event order; old callbacks <-> Lightning callbacks
muting           hooks of native callbacks that have nothing to act on in an epoch
publishing       the history -> Lightning's metrics and loggers
in_trainer       a TrainLoop in a Trainer of the user's own
guest_checks     ... and what is refused there
old_in_new       an old callback in a plain Trainer: the adapter
old_events       ... who runs when
old_state        ... what of it is in Lightning's checkpoints
view             ... what stands for the TrainLoop
borrowed         ... and what that borrows of the Trainer
native_history   the old history for native code
cadence          every reach into Lightning's loops
strategies       where the model lives, and that it stays there; one process among several
precision        names the precision and wraps nothing
quiet            what Lightning need not say
surroundings     what a Trainer changes in the process, and when that is given back
===============  =======================================================================
"""
