"""The restore drill: random histories on a real pair of services, restores of their databases, and recoveries."""
