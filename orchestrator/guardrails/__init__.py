"""Checks on what comes in, on what agents do, on what they read, and on what goes out."""
