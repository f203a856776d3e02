"""Passes: graph -> graph, one a file; `pipeline.py` lists them in order."""
