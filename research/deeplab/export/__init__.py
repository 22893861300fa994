"""Exports: SavedModel, frozen graph, ONNX, TensorFlow Lite; and what opens them again."""
