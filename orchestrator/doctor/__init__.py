"""Starting each server as a host would, and saying what is wrong."""
