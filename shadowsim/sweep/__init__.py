"""Scenarios, seeds and variants to a folder of runs, and from there to one table and one figure."""
