//! W3C trace context and baggage, in and out.
//! <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>

use std::collections::HashMap;

use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, Key};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

use super::bootstrap::Propagators;
use super::conventions::{baggage, header};

/// Bytes of a header, which is what the specification of baggage asks everyone to take.
const HEADER_BYTES_MAX: usize = 8_192;

/// What a run gives to every request it makes, besides the context of the span that
/// makes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    propagators: Propagators,
    baggage: Option<String>,
}

impl Outgoing {
    /// The caller's baggage with the run and the session added to it.
    pub(super) fn new(propagators: Propagators, caller: &Baggage, run_id: &str, session_id: Option<&str>) -> Outgoing {
        let mut all: Baggage = caller.iter().map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone()))).collect();
        all.insert(Key::from_static_str(baggage::RUN_ID), run_id.to_owned());
        if let Some(session) = session_id {
            all.insert(Key::from_static_str(baggage::SESSION_ID), session.to_owned());
        }
        let mut carrier = HashMap::new();
        BaggagePropagator::new().inject_context(&Context::new().with_baggage(all), &mut carrier);
        Outgoing { propagators, baggage: carrier.remove(header::BAGGAGE).filter(|_| propagators.baggage) }
    }

    /// Names and values of headers for a request below `span`.
    pub(super) fn headers(&self, span: &SpanContext) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if self.propagators.trace_context && span.is_valid() {
            headers.push((header::TRACEPARENT, traceparent(span)));
            let state = span.trace_state().header();
            if !state.is_empty() {
                headers.push((header::TRACESTATE, state));
            }
        }
        headers.extend(self.baggage.clone().map(|baggage| (header::BAGGAGE, baggage)));
        // What came from a caller may not fit a header; a request must not fail for it.
        headers.retain(|(_, value)| value.len() <= HEADER_BYTES_MAX && value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        headers
    }
}

/// Reads a W3C trace context; `None` when there is none or it is malformed.
pub fn parse_trace_context(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut carrier = HashMap::from([(header::TRACEPARENT.to_owned(), traceparent.to_owned())]);
    if let Some(state) = tracestate {
        carrier.insert(header::TRACESTATE.to_owned(), state.to_owned());
    }
    let context = TraceContextPropagator::new().extract(&carrier);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Reads W3C baggage. Entries that are malformed are left out, as are those beyond the
/// 64 entries and 8,192 bytes of the specification.
pub fn parse_baggage(text: &str) -> Baggage {
    let carrier = HashMap::from([(header::BAGGAGE.to_owned(), text.to_owned())]);
    let context = BaggagePropagator::new().extract_with_context(&Context::new(), &carrier);
    context.baggage().iter().map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone()))).collect()
}

/// The `traceparent` header of a span.
pub fn traceparent(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8() & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_context_round_trips_and_garbage_is_none() {
        assert_eq!(traceparent(&parse_trace_context(PARENT, None).unwrap()), PARENT);
        for bad in ["", "00-0-0-0", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "zz"] {
            assert!(parse_trace_context(bad, None).is_none(), "{bad}");
        }
    }

    #[test]
    fn baggage_goes_on_with_run_and_session() {
        let caller = parse_baggage("tenant=a%20b;p=1, run.id=theirs,broken,=x");
        let outgoing = Outgoing::new(Propagators::default(), &caller, "r1", Some("s 1"));
        let span = parse_trace_context(PARENT, Some("vendor=1")).unwrap();
        let headers: HashMap<_, _> = outgoing.headers(&span).into_iter().collect();
        assert_eq!((headers["traceparent"].as_str(), headers["tracestate"].as_str()), (PARENT, "vendor=1"));
        let sent = parse_baggage(&headers["baggage"]);
        let value = |key: &str| sent.get(key).map(|value| value.as_str().to_owned());
        assert_eq!([value("tenant"), value("run.id"), value("session.id")], ["a b", "r1", "s 1"].map(|text| Some(text.to_owned())));
        let odd = Outgoing::new(Propagators::default(), &parse_baggage("a=b;p=%0Ax"), "r1", None);
        assert!(odd.headers(&span).iter().all(|(_, value)| !value.contains('\n')));
        let none = Outgoing::new(Propagators { trace_context: false, baggage: false }, &caller, "r1", None);
        assert!(none.headers(&span).is_empty());
    }
}
