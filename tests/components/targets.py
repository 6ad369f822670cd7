"""The pytest option the suites share: which catalogs to run against instead of the usual ones."""


def add_options(parser):
    try:
        parser.addoption(
            "--target-uri",
            action="append",
            default=[],
            metavar="NAME=URI",
            help="run against this catalog instead of the usual targets (may be repeated)",
        )
    except ValueError:
        pass  # another suite of the same run has added it


def given(config):
    """The targets of the command line: URI by name."""
    return dict(entry.split("=", 1) for entry in config.getoption("--target-uri"))
