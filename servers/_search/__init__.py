"""A person's words as a full-text query."""
