"""Bringing a release to a device: the plan (pure) and the session that executes it."""
