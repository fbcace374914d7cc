"""Tests of the way out: reading programs without running them."""
