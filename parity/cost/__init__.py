"""What generations cost: how long they took on this machine."""
