"""Sampled changes to labelled history: what was known of each, and what came of it."""

from shadowsim.history.cases import CHANGES_PER_SITE, Case, case, change_at
from shadowsim.history.sites import Site, site

__all__ = ["CHANGES_PER_SITE", "Case", "Site", "case", "change_at", "site"]
