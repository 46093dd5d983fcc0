//! The plugins that are part of the binary.

use super::grants::Capability;
use crate::types::Stage;

/// A component compiled into the binary.
pub struct Shipped {
    pub name: &'static str,
    pub stage: Stage,
    pub bytes: &'static [u8],
    /// What it needs beyond its arguments.
    pub grants: &'static [Capability],
}

/// Every shipped plugin; the first of a stage is its default.
pub const SHIPPED: &[Shipped] = &[
    Shipped { name: "gate-heuristic", stage: Stage::Gate, bytes: include_bytes!(env!("SPANLOOM_GATE_HEURISTIC")), grants: &[] },
    Shipped { name: "fusion-rrf", stage: Stage::Fusion, bytes: include_bytes!(env!("SPANLOOM_FUSION_RRF")), grants: &[] },
    Shipped {
        name: "rerank-code",
        stage: Stage::Rerank,
        bytes: include_bytes!(env!("SPANLOOM_RERANK_CODE")),
        grants: &[Capability::Documents],
    },
];
