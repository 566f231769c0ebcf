"""The commands, a module for each noun. They import what they use when they run, so that `--help` is instant."""
