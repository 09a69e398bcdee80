"""Pure functions from configs to rules, loads and verdicts."""
