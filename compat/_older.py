"""Names that AIToolbox had before 1.8 and dropped, where a value of today does the same.

They are served under their old import paths alone: new code has no use for them.
"""

from compat.messages import MessageHandling

__all__ = [
    "ACCEPTED_SETTINGS",
    "APEX_AVAILABLE",
    "DEEPSPEED_AVAILABLE",
    "KEEP_FOREVER",
    "OVERWRITE",
    "UNTIL_END_OF_EPOCH",
    "UNTIL_READ",
]

# Until 1.4 these were strings, and the message service took them; from 1.5 on it takes the members of the enum.
KEEP_FOREVER = MessageHandling.KEEP_FOREVER
UNTIL_END_OF_EPOCH = MessageHandling.UNTIL_END_OF_EPOCH
UNTIL_READ = MessageHandling.UNTIL_READ
OVERWRITE = MessageHandling.OVERWRITE
ACCEPTED_SETTINGS = tuple(MessageHandling)

# Whether apex and deepspeed could be imported. Programs branch on it, and neither is used here.
APEX_AVAILABLE = False
DEEPSPEED_AVAILABLE = False
