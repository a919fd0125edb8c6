"""What is right beside each neighbour, one function a visit."""
