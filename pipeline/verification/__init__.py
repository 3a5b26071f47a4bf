"""The other side: takes sealed candidates, shows released ones to people, keeps their verdicts."""
