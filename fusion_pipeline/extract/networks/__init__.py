"""A backbone's name into a frozen network with its weights: the shelf of those that can be had, and what each needs."""
