"""Stage one: images into stores.

backbones
    a name into the record of a frozen network: model, weights, preprocessing
weights
    a record into a weights file at hand, its sha256 and its tensors
network
    a record into a network that gives features and probabilities
producers
    one decoded image into the rows of one store
engine
    a batch of uint8 images into features and probabilities, on the device
partition
    the rows of one partition into arrays, each file opened once for all stores
run
    a folder of images into published stores
verdict
    the seconds of a run into what held it back
"""
