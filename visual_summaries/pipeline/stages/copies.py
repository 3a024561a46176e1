"""Photographs that lie, byte for byte, under several labels."""

import pyarrow as pa
import pyarrow.compute as compute


def copies_between_labels(images: pa.Table) -> dict[str, str]:
    """What to say of each label of which photographs are under other labels, too.

    Args:
        images: columns `image_id`, `uri`, `label`; an empty id is of a file that could not be read.
    """
    images = images.select(["image_id", "uri", "label"]).filter(compute.not_equal(images.column("image_id"), ""))
    counted = images.group_by("image_id").aggregate([("label", "count_distinct")])
    shared = counted.filter(compute.greater(counted.column("label_count_distinct"), 1)).column("image_id")
    rows = images.filter(compute.is_in(images.column("image_id"), shared.combine_chunks())).to_pylist()
    places: dict[str, dict[str, str]] = {}
    for row in rows:
        places.setdefault(row["image_id"], {}).setdefault(row["label"], row["uri"])
    said = {}
    for label in sorted({row["label"] for row in rows}):
        own = [found for found in places.values() if label in found]
        other = min(one for one in own[0] if one != label)
        noun = "photograph is" if len(own) == 1 else "photographs are"
        said[label] = (
            f"{len(own)} {noun} under another label, too, byte for byte, such as {own[0][label]} as {own[0][other]}: "
            "each label takes them for its own; leave them under one"
        )
    return said
