"""The grading package: the journey of one submission, in folders by who may run what.

With the instructor's rights, where a submission is data and not a line of it runs:
``intake``      a notebook read, the chapter's plan, the answers grafted onto it
``sandbox``     starts the sandboxes, talks to the processes in them, collects outputs
``record``      results, their cache, nbgrader's gradebook, which submission a score belongs to
``running``     one submission through its sandboxes; a class of them
``feedback``    what a student reads afterwards
``instructor``  the verbs over all of it; ``attacks`` what it is tried with

In two sandboxes:
``inside``      what both share: the jail, the warm parent, the supervisors, the executor of cells
``judge``       runs the hidden tests; sees the student only through the wire
``student``     runs the student's code; nothing it says is believed, only compared

``wire`` and ``values`` are how those two talk: JSON and raw tensor bytes, never pickle from the student.
"""
