"""Which networks are somebody's own code or folder. Imports no library: a command line asks before it loads any."""

import os

# What stands before the name of a network of a library's.
LIBRARIES = ("torchvision:", "timm:", "hf:")


def is_code(spec: str) -> bool:
    """Whether to load this classifier is to run somebody's own code: `module:function`."""
    return ":" in spec and not spec.startswith(LIBRARIES)


def own_folder(spec: str) -> str | None:
    """The folder that `hf:<folder>` names, as it is written; None for a repository and for all other networks."""
    written = spec.removeprefix("hf:")
    is_path = written.startswith(("/", ".", "~")) or os.path.isdir(os.path.expanduser(written))
    return written if written != spec and is_path else None
