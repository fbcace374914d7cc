"""Tests of compat/experiment."""
