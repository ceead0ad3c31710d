//! The judge: signals in, verdict out. No I/O, no clock, no async.
