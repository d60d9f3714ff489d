"""The rules of admission, shared by the scan service and the gate device: plain data and pure functions."""
