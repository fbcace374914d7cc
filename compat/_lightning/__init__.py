"""The engine: the only folder that imports Lightning.

==============  ========================================================================
plan            arguments -> one frozen plan; every refusal is made here, with its reason
course          where a fit starts and stops, what earlier fits left behind, the quirks along the way
trainer         plan -> Trainer, and one fit from its start to its end
module          the hooks and steps of the LightningModule -> the facade's template methods
bridge          the event order; old callbacks <-> Lightning callbacks, history -> metrics
cadence         every reach into Lightning's loops
strategies      where the model lives, and that it stays there
precision       names the precision and wraps nothing
quiet           what Lightning need not say
surroundings    what a Trainer changes in the process, and when that is given back
==============  ========================================================================
"""
