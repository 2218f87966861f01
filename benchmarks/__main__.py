"""Runs every benchmark, one process each; fails if one misses its target."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    here = Path(__file__).parent
    missed = []
    for script in sorted(here.glob("[!_]*.py")):
        print(f"== {script.stem.replace('_', ' ')}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{script.stem}"], check=False).returncode:
            missed.append(script.stem)
        print(flush=True)
    print(f"missed: {', '.join(missed)}" if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
