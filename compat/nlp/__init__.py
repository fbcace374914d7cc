"""The small helpers for language tasks."""
