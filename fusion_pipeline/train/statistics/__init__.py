"""Predictions of the same images by several methods become scores, intervals and tests.

===============  ===================================================================================
`scores`         one method's predictions become one row of the table
`comparisons`    two methods' predictions in one run become McNemar's exact test
`repeats`        several repeats' predictions become one interval and one test that counts each image once
`resampled`      accuracy differences by fold or repeat become 5x2cv and corrected resampled t-tests
`holm`           the p-values of a family of tests become ones that hold for all of them at once
`gain`           the methods from the best single backbone to the fullest become steps, each with its test
`published`      published percentages become the numbers of test images that they can come from
===============  ===================================================================================
"""
