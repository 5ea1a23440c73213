"""Turns the official archives of the paper's seven data sets into listings.

==============  ==============================================================================
``record``      what is known of a data set: its layout, its counts, its archives
``reading``     the text and MATLAB files of an archive -> their lines and numbers
``actions40``   Stanford 40 Actions
``cub200``      Caltech-UCSD Birds-200-2011
``caltech``     Caltech 101 and Caltech 256
``flowers``     Oxford Flowers 17 and 102
``pets``        Oxford-IIIT Pets
``registry``    the seven by name, and which of them a folder holds
``check``       a copy -> what is missing from it
``download``    an official host -> a copy
==============  ==============================================================================
"""
