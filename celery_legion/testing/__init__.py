"""The test kit: what a schedule, and a store of one's own, are tested with."""
