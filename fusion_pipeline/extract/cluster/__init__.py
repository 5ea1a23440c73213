"""Partitions on the workers of a cluster: what these are told, what they do, and what they tell back."""
