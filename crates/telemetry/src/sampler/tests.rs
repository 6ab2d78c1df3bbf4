use opentelemetry::{
    Context,
    trace::{
        Link, Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
    },
};
use opentelemetry_sdk::trace::{SamplingDecision, SdkTracerProvider, ShouldSample};

use super::{Class, SamplerHandle};
use crate::{
    config::{Rates, TelemetryConfig},
    propagation::{Stranger, Untrusted},
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

#[test]
fn strangers_get_so_many_traces_a_second_whether_they_begin_or_continue_them() {
    let config = TelemetryConfig { sampling_rate: 1.0, untrusted_traces_per_second: 0.0, ..TelemetryConfig::default() };
    let handle = SamplerHandle::new(&config);
    let begins = Context::new().with_value(Stranger);
    let continues = remote(true).with_value(Untrusted).with_value(Stranger);
    for stranger in [begins, continues] {
        assert_eq!(decide(&handle, &stranger, HIGH, &[]), SamplingDecision::Drop);
    }
    assert_eq!(decide(&handle, &Context::new(), HIGH, &[]), SamplingDecision::RecordAndSample);
    assert_eq!(decide(&handle, &remote(true), HIGH, &[]), SamplingDecision::RecordAndSample);
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
fn an_untrusted_caller_decides_nothing() {
    assert_eq!(decide(&all(0.0), &remote(true).with_value(Untrusted), LOW, &[]), SamplingDecision::Drop);
    assert_eq!(decide(&all(1.0), &remote(false).with_value(Untrusted), LOW, &[]), SamplingDecision::RecordAndSample);
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
