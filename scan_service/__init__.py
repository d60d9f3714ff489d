"""The scan service: decides at the gate, and keeps the record of every scan."""
