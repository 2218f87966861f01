"""Real processes, broken on purpose: each promise of durability, briefly here and at length in `make soak`.

`SOAK_SEED` sets the seed, `SOAK_<NAME>` a long test's count; both are printed with the figures.
"""
