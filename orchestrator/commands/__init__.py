"""What a person types about runs and about what waits for them."""
