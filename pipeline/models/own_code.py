"""Which networks are somebody's own code. Imports nothing: a command line asks before it loads any."""


# What stands before the name of a network of a library's.
LIBRARIES = ("torchvision:", "timm:", "hf:")


def is_code(spec: str) -> bool:
    """Whether to load this classifier is to run somebody's own code: `module:function`."""
    return ":" in spec and not spec.startswith(LIBRARIES)
