"""Features or thumbnails become gate weights; one gate a file, named as the paper and the command line name it.

=============  ==========================================================================
`gate`         what every gate can do, and what it may look at
`average`      the same weight for every expert
`constant`     one learned weight per expert, the same for every image
`stacking`     a second softmax regression on the experts' mean (Eq. 9)
`embedding`    features embedded in one space (Eq. 6)
`cnn`          a miniature CNN on the thumbnail (Eq. 5): cnn32 and cnn64
`guard`        the promise that a learned gate is never used where averaging is better
`training`     how the two torch gates learn, and how long
`registry`     names become gates
=============  ==========================================================================

Nothing is imported here; torch is loaded by `training` alone, when a gate that needs it is fitted or used.
"""
