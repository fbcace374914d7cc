"""Experiments: metrics of predictions, and the packages that collect them."""
