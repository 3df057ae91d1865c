"""A byte stream to the helper on a device."""
