"""Measures become pictures, one figure a file; every figure comes with the numbers that it shows, as tables.

`drawing` has what all of them share: `Drawing`, colours, names from outside made harmless, and bytes that are the same
whenever the numbers are. `every_figure` calls each.
"""
