"""TensorFlow Lite: converting a frozen graph, reading the converter's complaints, what goes into the file."""
