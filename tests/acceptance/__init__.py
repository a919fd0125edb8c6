"""The main job, end to end: real schedulers, real workers, the real command line."""
