"""How far a stream of images is that are optimized together and finish together."""

from collections.abc import Callable, Sequence


class WorkDone:
    """Tells the work done, in images: those that have left count whole, each other by its share of the passes.

    Where images may leave early, how many passes one takes is learned from those that have left; until as many have
    left as are in the batch, these count nothing. What is told never falls.
    """

    def __init__(self, most: int, early: bool, tell: Callable[[float], None]) -> None:
        """`most`: passes of an image, at most; `early`: whether it may leave before; `tell`: takes the work done."""
        self._most, self._early, self._tell = most, early, tell
        self._left = self._learned = self._passes = 0
        self._told = 0.0

    def leave(self, passes: Sequence[int]) -> None:
        """Images have left whole, after so many passes each."""
        self._left += len(passes)
        # One whose objective is not finite leaves after a single pass, which is nothing to learn from.
        usual = [count for count in passes if count > 1]
        self._learned += len(usual)
        self._passes += sum(usual)

    def under_way(self, passes: Sequence[int], further: int = 0) -> None:
        """The images in the batch have had so many passes each, and `further` ones besides."""
        work = float(self._left)
        if not self._early:
            work += sum(min(1.0, (count + further) / self._most) for count in passes)
        elif self._learned and self._learned >= len(passes):
            usual = self._passes / self._learned
            work += sum(min(1.0, (count + further) / usual) for count in passes)
        self._told = max(self._told, work)
        self._tell(self._told)
