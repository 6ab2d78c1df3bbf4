use opentelemetry::{
    Context,
    trace::{
        Link, Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
    },
};
use opentelemetry_sdk::trace::{SamplingDecision, SdkTracerProvider, ShouldSample};

use super::{Class, Head, Ids, Place, SamplerHandle, with_trace_id};
use crate::{
    TraceContext,
    config::{Rates, TelemetryConfig},
};

/// Random values at both ends: kept by every rate but 0, and by no rate but 1.
const HIGH: TraceId = TraceId::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
const LOW: TraceId = TraceId::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]);

fn handle(rate: f64, rates: Rates) -> SamplerHandle {
    SamplerHandle::new(&TelemetryConfig { sampling_rate: rate, rates, ..TelemetryConfig::default() })
}

fn all(rate: f64) -> SamplerHandle {
    handle(rate, Rates { poll: rate, probe: rate, job: rate, ..Rates::default() })
}

fn place(sampled: bool, remote: bool) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(LOW, SpanId::from_bytes([7; 8]), flags, remote, TraceState::NONE)
}

fn decide(handle: &SamplerHandle, parent: &Context, trace_id: TraceId, links: &[SpanContext]) -> SamplingDecision {
    let links: Vec<Link> = links.iter().map(|link| Link::new(link.clone(), Vec::new(), 0)).collect();
    handle.sampler().should_sample(Some(parent), trace_id, "name", &SpanKind::Internal, &[], &links).decision
}

fn of_class(class: Class) -> Context {
    Context::new().with_value(class)
}

fn remote(sampled: bool) -> Context {
    Context::new().with_remote_span_context(place(sampled, true))
}

#[test]
fn a_root_is_kept_by_the_rate_of_its_class() {
    let handle = handle(0.5, Rates { poll: 1.0, probe: 0.0, job: 1.0, rollout: Some(0.0), write: Some(1.0) });
    assert_eq!(decide(&handle, &of_class(Class::Default), HIGH, &[]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&handle, &of_class(Class::Default), LOW, &[]), SamplingDecision::Drop);
    assert_eq!(decide(&handle, &of_class(Class::Poll), LOW, &[]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&handle, &of_class(Class::Probe), HIGH, &[]), SamplingDecision::Drop);
    assert_eq!(decide(&handle, &of_class(Class::Rollout), HIGH, &[]), SamplingDecision::Drop);
    assert_eq!(decide(&handle, &of_class(Class::Write), LOW, &[]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&handle, &of_class(Class::Job), LOW, &[]), SamplingDecision::RecordAndSample);
}

/// Whether a request is in a span that is sampled.
fn has_span(handle: &SamplerHandle, class: Class, inbound: Option<&TraceContext>, trust: bool, known: bool) -> bool {
    matches!(handle.place(Head { class, inbound, trust }, || known), Place::Span(..))
}

fn caller(sampled: bool) -> TraceContext {
    let flags = if sampled { "01" } else { "00" };
    TraceContext::from_parts(&format!("00-{HIGH}-00f067aa0ba902b7-{flags}"), None).unwrap()
}

#[test]
fn strangers_get_so_many_traces_a_second_whether_they_begin_or_continue_them() {
    let config = TelemetryConfig { sampling_rate: 1.0, untrusted_traces_per_second: 0.0, ..TelemetryConfig::default() };
    let handle = SamplerHandle::new(&config);
    let sampled = caller(true);
    for inbound in [None, Some(&sampled)] {
        assert!(!has_span(&handle, Class::Default, inbound, true, false));
        assert!(has_span(&handle, Class::Default, inbound, true, true));
    }
}

#[test]
fn probes_are_no_strangers_unless_they_continue_a_trace() {
    let rates = Rates { probe: 1.0, ..Rates::default() };
    let config = TelemetryConfig { rates, untrusted_traces_per_second: 0.0, ..TelemetryConfig::default() };
    let handle = SamplerHandle::new(&config);
    assert!(has_span(&handle, Class::Probe, None, true, false));
    assert!(!has_span(&handle, Class::Probe, Some(&caller(true)), true, false));
}

#[test]
fn the_flag_of_a_caller_decides_where_callers_are_trusted_and_this_one_is_known() {
    for (rate, trust, known, sampled, expected) in [
        (0.0, true, true, true, true),
        (1.0, true, true, false, false),
        (0.0, false, true, true, false),
        (1.0, false, true, false, true),
        (0.0, true, false, true, false),
    ] {
        let found = has_span(&all(rate), Class::Default, Some(&caller(sampled)), trust, known);
        assert_eq!(found, expected, "rate {rate}, trust {trust}, known {known}, sampled {sampled}");
    }
}

#[test]
fn an_unseen_request_has_a_place_of_its_own_in_the_trace_of_its_caller() {
    let inbound = caller(false);
    let Place::Unseen(context) = all(0.0).place(Head { class: Class::Poll, inbound: Some(&inbound), trust: true }, || true)
    else {
        panic!("nobody sees it")
    };
    let place = TraceContext::of_context(&context).unwrap();
    assert_eq!(place.trace_id(), inbound.trace_id());
    assert_ne!(place.span_id(), inbound.span_id());
    assert!(!place.is_sampled());
}

#[test]
fn the_trace_that_was_decided_about_is_the_one_that_begins() {
    let handle = all(0.5);
    let provider = SdkTracerProvider::builder().with_sampler(handle.sampler()).with_id_generator(Ids::default()).build();
    let tracer = provider.tracer("test");
    for _ in 0..100 {
        if let Place::Span(parent, id) = handle.place(Head { class: Class::Default, inbound: None, trust: false }, || true) {
            let span = with_trace_id(id, || tracer.start_with_context("request", &parent));
            assert!(span.span_context().is_sampled() && span.span_context().trace_id() == id);
            assert_eq!(decide(&handle, &Context::new(), id, &[]), SamplingDecision::RecordAndSample);
        }
    }
}

#[test]
fn the_adaptive_share_concerns_what_has_no_rate_of_its_own() {
    let rates = Rates { rollout: Some(1.0), ..Rates::default() };
    let config =
        TelemetryConfig { sampling_rate: 1.0, adaptive_traces_per_second: Some(1.0), rates, ..TelemetryConfig::default() };
    let handle = SamplerHandle::new(&config);
    let kept = |class: Class| {
        let decide = |_: &i32| decide(&handle, &of_class(class), HIGH, &[]) == SamplingDecision::RecordAndSample;
        (0..100).filter(decide).count()
    };
    assert_eq!(kept(Class::Rollout), 100);
    assert!(kept(Class::Default) < 100);
}

#[test]
fn rollouts_have_the_general_rate_unless_they_have_their_own() {
    assert_eq!(decide(&all(1.0), &of_class(Class::Rollout), LOW, &[]), SamplingDecision::RecordAndSample);
}

#[test]
fn the_share_of_kept_traces_is_the_rate() {
    use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
    let (handle, ids) = (all(0.1), RandomIdGenerator::default());
    let kept = (0..20_000)
        .filter(|_| decide(&handle, &Context::new(), ids.new_trace_id(), &[]) == SamplingDecision::RecordAndSample)
        .count();
    // 2,000 expected, with a standard deviation of 42: ten of them on either side.
    assert!((1_580..2_420).contains(&kept), "{kept}");
}

#[test]
fn rates_change_at_run_time_and_are_clamped() {
    let handle = all(0.0);
    assert_eq!(decide(&handle, &Context::new(), HIGH, &[]), SamplingDecision::Drop);
    handle.set_rates(17.0, Rates::default());
    assert_eq!(decide(&handle, &Context::new(), LOW, &[]), SamplingDecision::RecordAndSample);
    for nonsense in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        handle.set_rates(nonsense, Rates::default());
        assert_eq!(decide(&handle, &Context::new(), HIGH, &[]), SamplingDecision::Drop);
    }
}

#[test]
fn a_child_follows_its_parent_whatever_the_rates() {
    assert_eq!(decide(&all(0.0), &remote(true), LOW, &[]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&all(1.0), &remote(false), LOW, &[]), SamplingDecision::Drop);
}

#[test]
fn a_root_follows_the_flag_of_its_link() {
    assert_eq!(decide(&all(0.0), &of_class(Class::Rollout), LOW, &[place(true, true)]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&all(1.0), &of_class(Class::Rollout), HIGH, &[place(false, true)]), SamplingDecision::Drop);
    assert_eq!(decide(&all(1.0), &Context::new(), HIGH, &[SpanContext::NONE]), SamplingDecision::RecordAndSample);
}

#[test]
fn a_parent_wins_over_a_link() {
    assert_eq!(decide(&all(1.0), &remote(false), LOW, &[place(true, true)]), SamplingDecision::Drop);
}

#[test]
fn unsampled_rollouts_are_recorded_when_asked_for_and_their_flag_stays() {
    let handle = all(0.0);
    handle.record_rollouts(true);
    let unsampled = remote(false).with_value(Class::Rollout);
    assert_eq!(decide(&handle, &unsampled, LOW, &[]), SamplingDecision::RecordOnly);
    assert_eq!(decide(&handle, &of_class(Class::Rollout), LOW, &[place(false, true)]), SamplingDecision::RecordOnly);
    assert_eq!(decide(&handle, &of_class(Class::Poll), LOW, &[]), SamplingDecision::Drop);
    assert_eq!(decide(&handle, &remote(true).with_value(Class::Rollout), LOW, &[]), SamplingDecision::RecordAndSample);
    handle.record_rollouts(false);
    assert_eq!(decide(&handle, &unsampled, LOW, &[]), SamplingDecision::Drop);
}

#[test]
fn local_children_of_a_recorded_span_are_recorded_and_not_sampled() {
    let handle = all(0.0);
    handle.record_rollouts(true);
    let provider = SdkTracerProvider::builder().with_sampler(handle.sampler()).build();
    let tracer = provider.tracer("test");
    let root = of_class(Class::Rollout);
    let root = root.with_span(tracer.start_with_context("root", &root));
    let child = root.with_span(tracer.start_with_context("child", &root));
    let grandchild = tracer.start_with_context("grandchild", &child);
    assert!(grandchild.is_recording() && !grandchild.span_context().is_sampled());
    assert_eq!(grandchild.span_context().trace_id(), root.span().span_context().trace_id());
}

#[test]
fn a_trace_is_recorded_whole_or_not_at_all_though_the_switch_moves() {
    let handle = all(0.0);
    let provider = SdkTracerProvider::builder().with_sampler(handle.sampler()).build();
    let tracer = provider.tracer("test");
    for recorded in [true, false] {
        handle.record_rollouts(recorded);
        let root = of_class(Class::Rollout);
        let root = root.with_span(tracer.start_with_context("root", &root));
        handle.record_rollouts(!recorded);
        assert_eq!(tracer.start_with_context("child", &root).is_recording(), recorded);
    }
}

#[test]
fn the_tracestate_of_the_parent_stays() {
    let state: TraceState = "foo=1".parse().unwrap();
    let parent = SpanContext::new(LOW, SpanId::from_bytes([7; 8]), TraceFlags::SAMPLED, true, state.clone());
    let parent = Context::new().with_remote_span_context(parent);
    let result = all(1.0).sampler().should_sample(Some(&parent), LOW, "name", &SpanKind::Server, &[], &[]);
    assert_eq!(result.trace_state, state);
}
