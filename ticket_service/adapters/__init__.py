"""What stands outside: the scan service, drawing."""
