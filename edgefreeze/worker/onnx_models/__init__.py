"""ONNX: exporting a frozen graph, half precision, integers, what goes into the file."""
