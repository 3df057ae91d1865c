"""Finds trouble on a device before it costs a trip. Each room judges one side of it: pure functions of a Case
that give findings. `examine.py` collects what they judge."""
