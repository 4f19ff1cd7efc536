"""What checks the package's annotations when a function runs."""

from beartype import BeartypeConf, beartype

# An integer serves where a float is wanted, as in Python's own typing rules.
typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
