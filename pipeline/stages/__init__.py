"""Stages of a run on Ray. This is the one room that imports Ray; stages meet only in tables."""
