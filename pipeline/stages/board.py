"""Where workers tell how far they are. Imports nothing heavy: its process should stay small."""


class Board:
    """A Ray actor on which workers write how many images of a unit are done."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def tell(self, unit: str, images: int) -> None:
        """So many images of the unit with this name are done."""
        self._counts[unit] = images

    def take(self) -> dict[str, int]:
        """What was told since the last time."""
        counts, self._counts = self._counts, {}
        return counts
