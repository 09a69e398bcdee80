"""Attacks on what shadowsim promises (docs/reliability.md): `python tests/torture`.

Plain modules, not tests: an attack runs for as many cases as it is told to, prints how far it is,
and one line for every failure that makes that failure again.
"""
