"""Features or thumbnails become gate weights; one gate a file, named as the paper and the command line name it.

====================  ==========================================================================
`gate`                what every gate can do, and what it may look at
`average`             the same weight for every expert
`logit_average`       the mean of the experts' logits
`calibrated_average`  the mean of the experts' probabilities at a temperature for each
`constant`            one learned weight per expert, the same for every image
`log_pool`            the product of the experts' probabilities, each raised to a learned weight
`stacking`            a second softmax regression on the experts' mean (Eq. 9)
`embedding`           features embedded in one space (Eq. 6)
`embedding_softmax`   the same space with a softmax over classes: the caption of Table 2
`cnn`                 a miniature CNN on the thumbnail (Eq. 5): cnn32 and cnn64
`guard`               the promise that a learned gate is never used where averaging is better
`training`            how torch networks learn, and how long
`network`             a torch network as a gate with a guard
`registry`            names become gates
====================  ==========================================================================

Nothing is imported here; torch is loaded by those that have a network, when a gate that needs it is fitted or used.
"""
