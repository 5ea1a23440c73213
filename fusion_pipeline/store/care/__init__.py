"""A finished store and its cache, over the years: found whole or damaged, mended, copied, cleared away."""
