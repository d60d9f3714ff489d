"""The reference gate device: it scans tickets over a stream and decides by itself while it has no connection."""
