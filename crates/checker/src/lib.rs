//! What happened, judged: observations and the verdicts of the contract. Knows nothing of how the product works.
