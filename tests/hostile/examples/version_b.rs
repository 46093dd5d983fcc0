//! The version that takes its place.

hostile::swapped_version!(hostile::swapped::Version { version: "2.0.0", k: 5.0, takes_parameters: true, broken: false });
