"""What is said of a classifier that cannot be used."""


class ClassifierError(ValueError):
    """A network, a weights file or a labels file that cannot be used, in one line that says what to do."""
