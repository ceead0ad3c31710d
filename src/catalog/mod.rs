//! The catalogue of golden images: read, resolved by labels, digests verified.
