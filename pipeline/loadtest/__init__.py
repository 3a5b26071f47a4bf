"""The load test: drives the upload side as its users do, and measures what comes of it."""
