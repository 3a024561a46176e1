"""The stages of a run over volumes: light and shadow at the segments of an atlas, scan by scan, and means by class."""
