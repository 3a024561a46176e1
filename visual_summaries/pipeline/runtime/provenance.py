"""What results may depend on besides the settings: versions and the host."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

LIBRARIES = ("torch", "torchvision", "numpy", "ray", "pyarrow", "scikit-learn", "opencv-contrib-python-headless")


def library_versions() -> dict[str, str]:
    """Versions of Python, of this program and of the libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for name in ("visual-summaries", *LIBRARIES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def host_resources() -> dict[str, Any]:
    """Processors, memory and system of the driver's host."""
    return {
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "machine": platform.machine(),
    }
