"""How every server is hosted: the guarded path, the transports, the command line."""
