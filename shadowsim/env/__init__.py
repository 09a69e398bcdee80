"""The workflow as an environment in which an agent decides: single, and many at once."""
