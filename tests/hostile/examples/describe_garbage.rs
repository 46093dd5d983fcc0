//! A fusion that can be loaded up to `describe`.

hostile::odd_describe!("this is no JSON".to_owned());
