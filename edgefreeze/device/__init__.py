"""What runs on the device. Python >= 3.8, the standard library, and nothing outside this package."""
