"""How good is it: edits with a known right answer, and the paper's own measures where there is none.

`tasks` says what is to be learned, from which examples and on which photos it is judged: formulas (`synthetic`), edits
of one's own and folders of pictures (`task_files`). `methods` are what is compared, from `vii.methods`.
`benchmark` scores every method on every edit (`vii bench`), and `paper` measures as the paper does (`vii eval`), with
the metrics of `metric_table` (`metrics`, and the networks of `metric_models`). `scores` and `results` keep what was
made, so that a run that was stopped goes on; `statistics` draws the conclusions, `report` and `page` write them down.
"""
