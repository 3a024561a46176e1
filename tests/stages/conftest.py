"""Lets the tests of stages import the run in this process beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
