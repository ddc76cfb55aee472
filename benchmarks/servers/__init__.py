"""The servers that are compared, one a file, behind what `base.py` says."""
