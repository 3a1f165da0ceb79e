"""The fields of a configuration as flags of a command line and as keys of a TOML file."""
