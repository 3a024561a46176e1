"""What comes in: finding photographs and their classes (`catalog`, `class_map`), decoding them (`decode`), and the
built-in demo set (`demo`).
"""
