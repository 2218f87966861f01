"""Python imports this at the start of every process that has this directory on its PYTHONPATH.

That is how a planted run reaches the processes that tests start, and those that they start in turn.
"""

from __future__ import annotations

import os

if "PLANTING" in os.environ:
    from planting.process import begin

    begin()
