"""Other SDKs and agent frameworks as clients of every server; `make interop` runs it."""
