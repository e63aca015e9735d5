# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the scripts of bench/ fail: main() of benchlib turns these into a sentence and a status."""


class BenchError(Exception):
    """A sentence for the user; the script exits with status 1."""


class Skip(BenchError):
    """Why this cannot be measured here; the script exits with SKIPPED."""


SKIPPED = 77
