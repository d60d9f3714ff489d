"""The reference gate device: scans tickets on a stream, and decides alone where there is none."""
