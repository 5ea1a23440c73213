"""Networks at work: one small interface, and an engine for each way to run one on the device at hand.

engine
    what every engine does: a batch of uint8 images into features and probabilities, in parts that fit into memory
eager
    the network as it stands
compiled
    the network compiled and frozen, for long work on a processor
cuda
    the network on a GPU, with copies and computation overlapped
before
    what rows were made with before, into a plan for the others
choice
    which of them, for a device and an amount of work
probe
    how far what an engine gives is from what the plain network gives
"""
