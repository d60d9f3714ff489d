"""Gates, scans and uploads for tests of the scan service and the gate device."""
