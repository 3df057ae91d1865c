"""Faults: every case is data (kind, place, seed), and every case ends in the same check.

    python -m tests.faults                 all cases, sharded and resumable (make test-faults)
    pytest tests/faults                    a sample with a seed, for every change

A case starts from a device on which release A is active, tries to ship and activate B with one fault, and then
looks (check.py): `current` names a whole release that runs, the error named the device's state, a plain ship
without a fault ends with B, and nothing is left over.
"""
