"""Beside the packages that Celery users really have: a small app and each of them in an environment of its own.

``python -m tests.neighbours`` visits them all; three are also visited by the plain tests.
"""
