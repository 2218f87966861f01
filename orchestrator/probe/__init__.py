"""Looking at servers from outside, once or again and again."""
