"""The ticketing server: what customers need done, who works on it, and what was said."""
