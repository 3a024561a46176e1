"""Explains an image classifier over a whole data set: maps, visual summaries, tables and a report."""
