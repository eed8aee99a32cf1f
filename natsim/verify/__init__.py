"""The proof: RFC requirements and published figures, each measured against the model (`natsim verify`).

`check.py` says what a check is; `rfc4787.py`, `rfc5382.py`, `rfc5508.py`, `rfc7857.py` and `rfc6888.py` have the RFCs'
requirements, `violations.py` who is known to break which, the others published figures.  `table.py` is all of them.
"""
