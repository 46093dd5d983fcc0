//! A fusion that can be loaded up to `describe`.

hostile::odd_describe!(panic!("described to panic"));
