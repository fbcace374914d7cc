"""Tests. They mirror ``compat/`` one to one; ``parity/`` compares with the reference."""
