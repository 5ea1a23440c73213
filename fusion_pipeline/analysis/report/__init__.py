"""A benchmark's run, or what a model says of new photographs, becomes a page that can be sent to a colleague.

- `report`: a run's measures as a page; `explanation`: predictions of new photographs as one
- `standings`, `costs`, `answer`: the first screen, which says what is best, what fusing gains and what it costs
- `table`, `inline`, `origins`: the table, the figures, and what the run was made from
- `outcomes`, `gallery`, `pictures`, `cards`, `browser`: the images, what became of each, and how to look through them
- `names`: names from outside as text that can do no harm
- `page`, `writing`: templates, style and script as one document, and that as a file
"""
