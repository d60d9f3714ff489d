"""The stream of one gate device: the stream itself, the lanes of live scans and uploads, messages, presence."""
