"""Loading a person's own rows, each bad one reported with its line."""
