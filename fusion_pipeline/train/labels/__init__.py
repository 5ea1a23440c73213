"""ImageNet probabilities become label vectors (Section 3.4), the second half of what an expert may see.

=============  ==============================================================================
`names`        the names of the 1000 ImageNet classes, in the order of the probabilities
`tokens`       a class name becomes the words to look up
`words`        what any reader of word vectors finds
`glove`        a GloVe text file becomes the vectors of some words
`bundled`      the GloVe vectors that a package of the index carries
`vectors`      class names and word vectors become one vector per class
`weighting`    probabilities become the weights of their top T classes (Eq. 8)
`scaling`      blocks of columns become alike, so that one penalty serves all of them
`space`        features and probabilities become what an expert of an LE row sees
=============  ==============================================================================

Nothing is imported here.
"""
