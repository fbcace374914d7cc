"""What a step costs: ``python -m tests.bench`` prints one table. No test depends on a time."""
