"""Two models, artifacts or releases beside each other: whether they compute the same (verifying.py), and the
first node at which they part (bisecting.py)."""
