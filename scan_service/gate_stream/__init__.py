"""The stream of one gate device: reading, live lane, upload lane, messages, presence."""
