//! From a checked matrix and a catalogue to a [`Plan`](crate::model::Plan): pure data.
