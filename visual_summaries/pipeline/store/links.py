"""A run may come from anywhere: what is written into it, and read from it, must not go elsewhere by a link."""

import os
from pathlib import Path

from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.store.tables import StoreError

# Below which a run's jobs write under names that can be known beforehand; the tables are looked at shard by shard.
FOLDERS = ("", "report", "report/classes", "explainers")


def check_links(root: Path | ObjectPath) -> None:
    """Raise a StoreError if a file or folder of the run is a link that leads out of it; the run's folder may be one."""
    if isinstance(root, ObjectPath):
        return
    inside = Path(os.path.realpath(root))
    for name in FOLDERS:
        try:
            entries = list(os.scandir(root / name))
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink() and not (real := Path(os.path.realpath(entry.path))).is_relative_to(inside):
                raise StoreError(
                    f"{entry.path} leads out of {root} by a link, to {real}: put what it leads to there in place of "
                    "the link, or delete the link"
                )
