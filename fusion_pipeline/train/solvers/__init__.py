"""Pure functions on arrays: rows of features and labels become linear models, for any training part of them.

================  ==============================================================================
`gram`            the features of one or more backbones become the inner products of all rows
`rows`            blocks of features become training parts, through Grams or directly
`parts`           a training part becomes what solvers ask of it, whichever way it is held
`preconditioner`  a matrix becomes the map from slopes to the coefficients that would level them
`moves`           a step of a search becomes what is remembered of it
`scalings`        slopes become the first guess of a way, by plain steps or preconditioned ones
`descent`         a convex loss of linear models becomes its optimum, by preconditioned L-BFGS
`newton`          squared hinge losses become their optima, by the rows that miss their margin
`eigenbasis`      a part becomes its principal axes
`softmax`         labels become multinomial softmax regressions along a path of penalties
`svm`             labels become one-against-rest linear L2-SVMs along a path of costs
`pca`             a part becomes principal component scores of its rows and of held-out ones
`ridge`           labels and folds become out-of-fold predictions of ridge regressions
================  ==============================================================================

Nothing here knows of stores, folds of an experiment, or Dask.
"""
