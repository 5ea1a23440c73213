"""Section 2 of the paper: what a benchmark predicted becomes measures and figures of what its backbones know.

What is read, and what all measures are taken of:

- `kept_run`: the folder of a benchmark's run, checked, and the stores that it was made from
- `votes`: the class that each backbone gave to each tested image
- `moe`: the row of the table that stands for the fused model

The measures, one a file; each takes arrays or votes, and knows nothing of files:

- `agreement`: Cohen's kappa of each pair of backbones (Figure 2)
- `correct_experts`: how many backbones are right, and what all of them get wrong (Figure 3)
- `class_f1`: classes that different backbones know best (Figure 4)
- `class_wins`: the number of classes that each of them wins (Figure 5)
- `confused_pair`: the two classes that are taken for each other most often (Figure 6)
- `projection`: features as points in the plane (Figure 6)
- `distinct_votes`: accuracy where backbones agree and where they do not (end of Section 2)
- `trust`: whom the gate trusts, by class and by image
- `subsets`: the average of every subset of the backbones, and what it costs
- `calibration`: how often what is said to be likely is true

And what becomes of them:

- `measures`: all of them, of one run
- `readings`: the sentence that says what a measure shows
- `document`: what scripts read
- `figures`: one figure a file
- `analyze`: runs become a folder with figures, tables and one JSON document
- `report`: a run becomes one page
"""
