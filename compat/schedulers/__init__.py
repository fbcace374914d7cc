"""Learning rate schedulers as callbacks, with torch's own schedulers inside."""
