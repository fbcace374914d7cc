"""Tests of compat.schedulers, one file a module."""
