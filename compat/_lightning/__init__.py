"""The engine: the only folder that imports Lightning.

==============  ========================================================================
plan            arguments -> one frozen plan; every refusal is made here, with its reason
trainer         plan -> Trainer, and one fit from its start to its end
module          the hooks and steps of the LightningModule -> the facade's template methods
bridge          the event order; old callbacks <-> Lightning callbacks, history -> metrics
cadence         every reach into Lightning's loops
strategies      where the model lives, and that it stays there
precision       names the precision and wraps nothing
quiet           what Lightning need not say
==============  ========================================================================
"""
