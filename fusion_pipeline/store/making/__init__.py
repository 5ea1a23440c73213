"""A store in the making: partitions, by one writer or several, until they are published as one store."""
