//! A version that refuses the parameters of the one before.

hostile::swapped_version!(hostile::swapped::Version { version: "3.0.0", k: 60.0, takes_parameters: false, broken: false });
