"""The stages of a run over volumes: scans → light and shadow at the segments of an atlas → what they come to by class."""
