"""How well the modules that decide are tested: see docs/testing.md."""
