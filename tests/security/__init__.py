"""What must not be possible, whatever a text says and whoever wrote it."""
