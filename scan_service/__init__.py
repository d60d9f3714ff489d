"""The scan service: decides scans at gates and records every scan."""
