"""Run with `python3 -m unittest` in the project's folder."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))
