//! Reports: folds over events that never run anything.
