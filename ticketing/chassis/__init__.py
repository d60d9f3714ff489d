"""What any gRPC service drives on: no word of tickets or scans stands in here."""
