"""Why a case drifted, found by experiment.

`counterfactuals` (what each factor costs) and `quick` (the same in latents, for less) explain a case whose config is
known; `search` finds the settings when it is not. All draw in the `lab`, and say what they found in `result`.
"""
