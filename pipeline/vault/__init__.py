"""The provider's vault: opens who is behind a confirmed verdict, for the report desk alone."""
