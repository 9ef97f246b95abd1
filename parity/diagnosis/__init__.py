"""The cause of drift, found by experiment.

`counterfactuals` (the cost of each factor) and `quick` (the same in latents, for less) explain a case whose config is
known; `search` finds the settings when it is not. All generate in the `lab`, and report in the types of
`results/diagnosis.py`.
"""
