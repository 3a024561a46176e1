"""Where workers tell how far they are. Imports nothing heavy: its process should stay small."""


class Board:
    """A Ray actor on which workers write how far a unit is."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}

    def tell(self, unit: str, images: int, work: float) -> None:
        """So many images of the unit with this name are done; so many, if those under way count by their shares."""
        self._counts[unit] = images, work

    def take(self) -> dict[str, tuple[int, float]]:
        """What was told since the last time."""
        counts, self._counts = self._counts, {}
        return counts
