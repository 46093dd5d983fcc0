//! A fusion that can be loaded up to `describe`.

hostile::odd_describe!(r#"{"version": "1"}"#.to_owned());
