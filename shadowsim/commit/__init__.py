"""The confirmed commit: production is changed only under a rollback that somebody else holds."""
