"""Several processes of one service on one port."""
