"""Uploads as they arrive: the front door, the upload log, and what reads it."""
