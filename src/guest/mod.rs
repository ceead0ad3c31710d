//! The seam to the inside of a machine: the agent's protocol and what each OS family needs.
