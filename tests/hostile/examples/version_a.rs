//! The version that serves first.

hostile::swapped_version!(hostile::swapped::Version { version: "1.0.0", k: 60.0, takes_parameters: true, broken: false });
