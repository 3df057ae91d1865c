"""What is in a model, read from its file: pure readers that need protobuf and no TensorFlow, and judgements
on what they read. `report.inspect` puts them together.
"""
