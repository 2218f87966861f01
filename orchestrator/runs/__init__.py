"""A run: what happened in it, what it is now, and the loop that takes it on."""
