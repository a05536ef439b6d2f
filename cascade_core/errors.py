"""The one exception that a person is meant to read."""


class CascadeError(ValueError):
    """A file, a graph or a setting that cannot be used.

    Its message says which file or input, what was expected, what was found and what to do.
    """
