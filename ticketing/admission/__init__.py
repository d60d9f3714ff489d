"""The rules of admission, which the scan service and the gate device apply alike. Pure."""
