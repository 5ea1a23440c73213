"""Image files into prepared pixels, each opened and decoded once for all networks, ahead of who computes."""
