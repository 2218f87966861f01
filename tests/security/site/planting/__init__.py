"""A run of the tests with thirty secrets in everything that goes through it, and the search of what it left.

`make secrets` does both; docs/security.md tells what is planted where, and what is searched. Nothing here
belongs to the product, and no option of the product leads here: it is started by `sitecustomize`, in
processes whose environment says `PLANTING`, and stands on the standard library alone.
"""
