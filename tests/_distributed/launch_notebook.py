"""What a worker of a program without a file runs."""

from compat._distributed.luggage import Luggage


def call(luggage: Luggage, value: float) -> tuple[str, float]:
    """Unpack a function and call it."""
    function = luggage.unpack()
    return type(function).__name__, function(value)
