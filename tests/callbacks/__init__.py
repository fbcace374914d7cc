"""Tests of compat.callbacks, one file a module."""
