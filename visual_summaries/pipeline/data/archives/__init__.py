"""Photographs as members of tar files and rows of Parquet files: addresses (`address`), what is in them (`tar`,
`parquet`, `finding`) and their bytes by range (`reading`). Nothing is unpacked; a member's name is never a path here.
"""
