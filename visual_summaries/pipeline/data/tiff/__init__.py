"""TIFF files of rare forms."""
