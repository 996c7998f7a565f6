"""One file for each target of `tests.fuzz.target.NAMES`."""
