"""Who may use a server over HTTP: bearer tokens from a file, JWTs, and what each of them may do."""
