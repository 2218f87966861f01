"""`switchboard worker`: a process that works on runs that others hand in."""
