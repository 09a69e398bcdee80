"""Past changes to a fitted model, and how good it is on networks it has never seen."""
