"""The hash ledger: what examined items were reduced to, sealed, for some days (docs/ledger.md)."""
