"""Labelled history to models that forecast, and to what following a forecast would have meant."""
