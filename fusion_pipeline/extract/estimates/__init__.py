"""What an extraction would compute, write and take, before anything is written."""
