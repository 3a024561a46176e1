"""Scans in folders and the atlas that they are measured by: NumPy's and NIfTI's files."""
