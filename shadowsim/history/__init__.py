"""Sampled changes to labelled history: what was known of each, and what came of it."""
