"""What holds for all tests here."""

from hypothesis import HealthCheck, settings

# How long an example takes hangs on who else is at work; speed is measured elsewhere.
SLOW = [HealthCheck.too_slow]
settings.register_profile("any machine", deadline=None, suppress_health_check=SLOW)
settings.load_profile("any machine")
