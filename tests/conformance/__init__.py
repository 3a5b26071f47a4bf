"""The conformance set: the same pictures in every format and pixel mode, and how close a code is.

`ways` says how each file is made and what it shows, `judge` hashes the files. Run as a program it
writes the set into a folder, for other implementations to be tested on.
"""
