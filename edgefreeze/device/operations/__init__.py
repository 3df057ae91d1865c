"""What a host may ask for, by what it is about. Each file has OPERATIONS, from the name to the Operation."""
