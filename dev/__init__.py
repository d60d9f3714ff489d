"""Tools that a developer runs by hand; the product does not import them."""

import sys

from ticketing.chassis.interrupts import end_at_once

# `python -m dev.up` and the like import this package first, while the first argument is still `-m`. The imports that
# follow take up to a second, in which Ctrl-C would print a traceback.
if sys.argv[0] == "-m":
    end_at_once()
