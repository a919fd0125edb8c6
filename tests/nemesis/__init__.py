"""A small nemesis: real beats and workers under aimed faults, judged by an oracle of its own."""
