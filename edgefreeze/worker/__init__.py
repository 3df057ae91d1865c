"""The child process that owns TensorFlow."""
