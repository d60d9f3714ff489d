"""The scan service, which decides scans at gates and records every scan."""
