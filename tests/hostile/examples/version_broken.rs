//! A version that gives what is no number.

hostile::swapped_version!(hostile::swapped::Version { version: "4.0.0", k: 60.0, takes_parameters: true, broken: true });
