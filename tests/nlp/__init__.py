"""Tests of compat.nlp, one file a module."""
