"""Ratios against a bare twin, measured side by side in one run."""
