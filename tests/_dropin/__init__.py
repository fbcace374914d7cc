"""Tests of compat._dropin."""
