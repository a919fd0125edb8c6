"""The small apps, one a neighbour; they run in the neighbour's environment and import nothing else of the tests."""
