"""The provider's report desk: fetches verdicts, asks the vault who it is, drafts reports."""
