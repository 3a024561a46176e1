"""Explainers: one file per method, one common interface, a registry. Needs torch only."""
