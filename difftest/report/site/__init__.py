"""The history of any number of runs as a static site."""
