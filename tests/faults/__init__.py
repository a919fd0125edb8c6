"""The fault harness: real beats, workers and servers that are broken on purpose, judged by an oracle of its own.

``python -m tests.faults`` runs the scenarios (``make faults``); each prints one JSON row.
"""
