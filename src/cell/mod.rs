//! One cell's life, a file per step.
