"""Pure functions on arrays: rows of features and labels become linear models, for any training part of them.

================  ==============================================================================
`gram`            the features of one or more backbones become the inner products of all rows
`rows`            blocks of features become training parts, through Grams or directly
`parts`           training rows and held-out rows become spaces of linear models
`spaces`          the models on some rows become what a search for the best asks for, in either precision
`blas`            matrix products and solutions, all by one BLAS
`preconditioner`  a matrix becomes the map from slopes to the coefficients that would level them
`moves`           a step of a search becomes what is remembered of it
`scalings`        slopes become the first guess of a way, by plain steps or preconditioned ones
`search`          where a search stands becomes where it stands a step of L-BFGS later
`descent`         a convex loss of linear models becomes its optimum, nearly in float32 and then in float64
`newton`          squared hinge losses become their optima, by the rows that miss their margin
`eigenbasis`      a part becomes its principal axes
`softmax`         labels become multinomial softmax regressions along a path of penalties
`svm`             labels become one-against-rest linear L2-SVMs along a path of costs
`pca`             a part becomes principal component scores of its rows and of held-out ones
`ridge`           labels and folds become out-of-fold predictions of ridge regressions
================  ==============================================================================

Nothing here knows of stores, folds of an experiment, or Dask.
"""
