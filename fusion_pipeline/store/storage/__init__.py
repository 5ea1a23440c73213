"""Where a cache lies: durable files and create-if-absent, in a folder or in an object store."""
