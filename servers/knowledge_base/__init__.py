"""The knowledge-base server: the help articles, how they are found, and how they are written."""
