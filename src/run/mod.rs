//! A run: admission, one dispatcher, cancel, resume.
