"""The wire: generated stubs (`sluis`), certificates and roles, channels."""
