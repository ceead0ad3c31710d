//! The gate: what all verdicts together mean for the update.
