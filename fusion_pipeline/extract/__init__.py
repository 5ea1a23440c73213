"""Stage one: images into stores.

networks
    a backbone's name into a frozen network with its weights
loading
    image files into prepared pixels, each opened and decoded once for all networks
engines
    a batch of pixels into features and probabilities, on the device
producers, rows
    the images of one partition into the rows of every store
targets, index_target, backbone_target
    one store to end with: found published, or made partition by partition
passes, writer, run
    a folder of images into published stores
cluster
    partitions on the workers of a cluster
repair
    damaged stores into whole ones
estimates
    what an extraction would compute, write and take
meter, verdict
    the seconds of a run into what held it back
source
    published indexes and the images as they are now into what differs
"""
