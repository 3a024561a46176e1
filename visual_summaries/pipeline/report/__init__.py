"""The static report of a run: pictures on arrays, pages from plain data.

`content` holds the dataclasses that a stage fills from the tables, `pictures` draws on numpy arrays, `site`
writes the pages. Nothing here reads a table, and nothing here imports Ray or pyarrow.
"""
