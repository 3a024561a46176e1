"""Metrics as functions on arrays."""
