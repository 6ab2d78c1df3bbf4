use super::{Paint, Span, collection::Collection, convert, share_table};
use crate::watch::{self, Emitted};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics_service_server::MetricsService},
    trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server::TraceService},
};
use prost::Message;
use serde_json::json;
use std::collections::BTreeMap;
use tower_http::decompression::RequestDecompressionLayer;

const PROTOBUF: &str = "application/x-protobuf";

/// OTLP over gRPC.
pub(super) struct Grpc(pub(super) Collection);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let request = request.into_inner();
        watch::search(Emitted::Spans, "a daemon over gRPC", &request.encode_to_vec());
        self.0.add(convert::spans(request));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        watch::search(Emitted::Metrics, "a daemon over gRPC", &request.into_inner().encode_to_vec());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// OTLP over HTTP, and what arrived.
pub(super) fn routes(collection: Collection) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .route("/v1/metrics", post(measured))
        .layer(RequestDecompressionLayer::new().gzip(true))
        .layer(DefaultBodyLimit::max(64 << 20))
        .route("/traces", get(list))
        .route("/traces/{id}", get(show))
        .with_state(collection)
}

async fn export(State(collection): State<Collection>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send {PROTOBUF}")).into_response();
    }
    watch::search(Emitted::Spans, "a daemon over HTTP", &body);
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            collection.add(convert::spans(request));
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn measured(body: Bytes) -> Response {
    watch::search(Emitted::Metrics, "a daemon over HTTP", &body);
    ([(header::CONTENT_TYPE, PROTOBUF)], ExportMetricsServiceResponse::default().encode_to_vec()).into_response()
}

async fn list(State(collection): State<Collection>) -> Response {
    let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in collection.all() {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    let rows = traces.into_iter().map(|(id, spans)| {
        let first = spans.iter().min_by_key(|span| span.start_nanos);
        let name = first.map(|span| span.name.as_str()).unwrap_or_default();
        let start = first.map_or(0, |span| span.start_nanos);
        (start, json!({"trace_id": id, "name": name, "spans": spans.len(), "start_nanos": start}))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    Json(rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>()).into_response()
}

async fn show(State(collection): State<Collection>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let trace = collection.trace(&id);
    if trace.spans.is_empty() {
        return (StatusCode::NOT_FOUND, format!("no span of trace {id} has arrived\n")).into_response();
    }
    let (tree, shares) = (trace.tree(Paint::Plain), trace.shares());
    let wants_text = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/"));
    if wants_text {
        return format!("{tree}\n{}", share_table(&shares, Paint::Plain)).into_response();
    }
    Json(json!({"trace_id": id, "spans": trace.spans, "linked": trace.linked, "tree": tree, "shares": shares})).into_response()
}
