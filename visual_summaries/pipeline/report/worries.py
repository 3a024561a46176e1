"""What is suspicious about summaries, in words, the most suspicious first."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_summaries.pipeline.report.rendering import percent


def sign_in_words(sign: Mapping[str, Any]) -> str:
    """A sign, fields of `pipeline.evaluate.suspicion.Sign`, as what the summary does: "lies in …"."""
    counted = f"{sign['count']:,} of {sign['of']:,} photographs"
    match sign["kind"]:
        case "corner":
            return f"lies in the {sign['where']} of {counted}"
        case "border":
            return f"lies at the {sign['where']} of {counted}"
        case "same place":
            return f"is in the same place of {counted} (by chance {percent(sign['chance'], 0)})"
        case "outside":
            return f"lies outside the object in {counted}"
        case "source":
            return (
                f"is in {counted} of {sign['where']} pixels, probably of one source, and in "
                f"{percent(sign['chance'], 0)} of the others"
            )
    raise ValueError(f"no words for a sign of kind {sign['kind']}")


def signs_in_words(signs: Sequence[Mapping[str, Any]]) -> str:
    """All signs of a summary as one sentence without its subject."""
    return "; ".join(sign_in_words(sign) for sign in signs)


def most_suspicious(worries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Summaries with `signs`: those with more kinds of signs first, then those whose signs hold for more photographs
    than by chance, then those that hold more of the evidence (`coverage`)."""

    def order(worry: Mapping[str, Any]) -> tuple[Any, ...]:
        excess = max(sign["count"] / sign["of"] - sign["chance"] for sign in worry["signs"])
        return -len(worry["signs"]), -excess, -(worry["coverage"] or 0), worry["label"], worry["number"]

    return sorted(worries, key=order)
