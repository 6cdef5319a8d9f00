"""The grading package, laid out by trust.

``instructor``  runs with the instructor's rights; reads submissions as data, never runs a line of them
``inside``      what both sandboxes share: the jail, the warm parent, the executor of cells
``judge``       runs the hidden tests, in its own sandbox; sees the student only through the wire
``student``     runs the student's code, in another sandbox; nothing it says is believed, only compared
``wire``        the one format in which those two talk: JSON and raw tensor bytes, never pickle from the student
"""
