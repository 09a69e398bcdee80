"""Dynamic network shadowing and predictive rollback: a research testbed."""

__version__ = "0.1.0"
