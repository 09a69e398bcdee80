"""Benchmarks that measure each room beside its best known peer."""
