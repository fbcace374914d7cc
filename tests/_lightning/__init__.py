"""The engine's tests, one file for each of its files."""
