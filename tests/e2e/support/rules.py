"""Rules as the tests of routing write them."""


def says(text, **rule):
    """A rule that answers by itself."""
    return {**rule, "respond": {"body": text}}
