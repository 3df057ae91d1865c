"""What is shipped: manifest, envelope, contents."""
