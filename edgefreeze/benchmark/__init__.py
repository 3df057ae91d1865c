"""The duel: its plan, its statistics, its verdicts."""
