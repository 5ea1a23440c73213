"""Stage two: stores of features become experts, gates, scores and a model folder.

===================  ==================================================================================================
`aligned`            the stores of several backbones for one data-set version, row by row alike
`folds`              labels and groups become stratified folds
`dealing`            how that is done: dealt like cards, groups kept whole
`duplicates`         thumbnails become groups of near-duplicates
`solvers`            rows of features and labels become linear models, for any training part of them
`experts`            one backbone's features become an expert and its out-of-fold predictions
`concat_expert`      all backbones' features side by side become one more expert
`expert_sets`        backbones and what is asked for beside them become the names of the experts
`mixture`            gate weights and experts' probabilities become fused probabilities (Eq. 3)
`gates`              features or thumbnails become gate weights, one gate a file
`labels`             ImageNet probabilities become label vectors, which experts may see beside features (Eq. 8)
`joint`              fitted experts and a gate network become ones that are trained together
`classifier`         all of the above as one estimator with scikit-learn's conventions
`expert_classifier`  an expert alone as such an estimator
`gate_classifier`    a gate alone as such an estimator, on the predictions of any experts
`side_by_side`       all of the above on one matrix, for scikit-learn's searches and cross-validation
`checked`            what a caller gives becomes matrices, labels and settings that fit each other
`fusion`             what a user asks for becomes one record that is checked before any work
`tasks`              a record of what to fit on which rows becomes its result, wherever it runs
`crossval`           stores become out-of-fold predictions of every method, by tasks of an executor
`statistics`         predictions become scores, intervals, tests and the gain taken apart
`ledger`             what every fitted parameter saw becomes the list of those that predicted what they saw
`row_sets`           row numbers become small sets with a digest
`row_order`          a matrix becomes how far it gives away the number of a row
`table`              scores become a table for people and records for machines
`model`              a fitted classifier becomes safetensors and JSON, and back
`model_folder`       named bytes become a folder that is written whole and checked on reading
===================  ==================================================================================================

Nothing is imported here: reading this package's name loads neither torch nor scikit-learn.
"""
