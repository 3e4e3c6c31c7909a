"""The command line: one file per verb, each parses, makes one call, prints."""
