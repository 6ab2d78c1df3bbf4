//! Every route: the router is the `OpenAPI` document.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use axum::{
    Router, middleware,
    response::{IntoResponse, Response},
};
use brokkr_api::{ErrorCode, readiness::Check, routes};
use brokkr_runtime::server::{Probe, probes, telemetry_check};
use brokkr_telemetry::{MetricsEndpoint, StatusHandle, http::ServerTelemetry, sampler::Class};
use http::Method;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes as documented};

use super::{
    AppState,
    auth::known_key,
    cors,
    document::describe,
    envelope::{Envelope, envelope},
    error::Failure,
    limits::limit,
    reference::reference,
    v1,
};

#[derive(OpenApi)]
#[openapi(info(
    title = "Brokkr",
    description = "Delivers Kubernetes objects to many clusters, and says where the time went.",
    license(name = "Apache-2.0")
))]
struct Document;

fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(documented!(v1::keys::create, v1::keys::list))
        .routes(documented!(v1::keys::revoke))
        .routes(documented!(v1::generators::create, v1::generators::list))
        .routes(documented!(v1::generators::read, v1::generators::update))
        .routes(documented!(v1::tokens::create, v1::tokens::list))
        .routes(documented!(v1::tokens::revoke))
        .routes(documented!(v1::enrolments::enrol))
        .routes(documented!(v1::agents::create, v1::agents::list))
        .routes(documented!(v1::agents::read, v1::agents::update))
        .routes(documented!(v1::suspensions::suspend_agent, v1::suspensions::resume_agent))
        .routes(documented!(v1::rotation::deactivate, v1::rotation::reactivate))
        .routes(documented!(v1::rotation::want))
        .routes(documented!(v1::rotation::take))
        .routes(documented!(v1::deployments::of_agent))
        .routes(documented!(v1::abandonment::abandon))
        .routes(documented!(v1::suspensions::fleet))
        .routes(documented!(v1::suspensions::suspend_fleet, v1::suspensions::resume_fleet))
        .routes(documented!(v1::tracing::read, v1::tracing::set, v1::tracing::reset))
        .routes(documented!(v1::tracing::agents))
        .routes(documented!(v1::stacks::list))
        .routes(documented!(v1::stacks::put, v1::stacks::read, v1::stacks::delete))
        .routes(documented!(v1::targets::preview))
        .routes(documented!(v1::suspensions::suspend_stack, v1::suspensions::resume_stack))
        .routes(documented!(v1::approvals::approve))
        .routes(documented!(v1::deployments::of_stack))
        .routes(documented!(v1::deployments::read))
        .routes(documented!(v1::deployment_objects::rollback))
        .routes(documented!(v1::deployment_objects::put, v1::deployment_objects::list))
        .routes(documented!(v1::deployment_objects::read))
        .routes(documented!(v1::rollout::read))
        .routes(documented!(v1::work_orders::create, v1::work_orders::list))
        .routes(documented!(v1::work_orders::read))
        .routes(documented!(v1::work_orders::log))
        .routes(documented!(v1::work_orders::cancel))
        .routes(documented!(v1::work_orders::retry))
        .routes(documented!(v1::webhooks::create, v1::webhooks::list))
        .routes(documented!(v1::webhooks::read, v1::webhooks::update, v1::webhooks::delete))
        .routes(documented!(v1::webhooks::rotate))
        .routes(documented!(v1::deliveries::test))
        .routes(documented!(v1::deliveries::list))
        .routes(documented!(v1::deliveries::read))
        .routes(documented!(v1::deliveries::replay))
        .routes(documented!(v1::deliveries::types))
        .routes(documented!(v1::deliveries::schema))
        .routes(documented!(v1::events::list))
        .routes(documented!(v1::audit::list))
        .routes(documented!(v1::agent::hello))
        .routes(documented!(v1::agent::desired_state))
        .routes(documented!(v1::agent::content))
        .routes(documented!(v1::reports::post))
        .routes(documented!(v1::tracing::report))
        .routes(documented!(v1::work_claims::claim))
        .routes(documented!(v1::work_claims::renew))
        .routes(documented!(v1::work_reports::report))
        .routes(documented!(v1::delivery_claims::claim))
        .routes(documented!(v1::delivery_claims::report))
}

/// The `OpenAPI` 3.1 document, as it is committed.
pub(crate) fn openapi() -> String {
    let document = describe(&api().into_openapi());
    // A document of our own types can always be written.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The broker's router.
pub(crate) fn router(
    state: &AppState,
    telemetry: ServerTelemetry,
    spans: StatusHandle,
    metrics: Option<MetricsEndpoint>,
) -> Router {
    let (api, document) = api().split_for_parts();
    let probe = Arc::new(BrokerProbe { state: state.clone(), spans });
    let envelope_state =
        Envelope { clock: Arc::clone(&state.clock), ids: Arc::clone(&state.ids), limits: state.settings.requests };
    let no_route = || async { Failure::new(ErrorCode::NotFound, "there is no such path; the API is below /api/v1") };
    let router = Router::new()
        .merge(api.with_state(state.clone()))
        .merge(probes(probe, state.draining.clone(), metrics))
        .merge(reference(&describe(&document)))
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(state.clone(), limit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(option_layer(cors::layer(&state.settings.allowed_origins)))
        .layer(middleware::from_fn_with_state(envelope_state, envelope));
    let keys = state.clone();
    let telemetry = telemetry
        .serving(served(&document, &state.settings.metrics_path))
        .with_class(Method::GET, routes::DESIRED_STATE, Class::Poll)
        .trusting(move |parts| known_key(&keys, parts).is_some());
    telemetry.wrap(router)
}

/// The methods that each route has; whoever may read may ask for the head alone.
fn served(document: &utoipa::openapi::OpenApi, metrics: &str) -> Vec<(Method, String)> {
    let of_api = document.paths.paths.iter().flat_map(|(path, item)| {
        let has = [
            (Method::GET, &item.get),
            (Method::HEAD, &item.get),
            (Method::PUT, &item.put),
            (Method::POST, &item.post),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        has.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| (method, path.clone())).collect::<Vec<_>>()
    });
    let others = [routes::HEALTHZ, routes::READYZ, metrics, routes::OPENAPI, routes::DOCS];
    of_api
        .chain(others.into_iter().flat_map(|path| [Method::GET, Method::HEAD].map(|method| (method, path.to_owned()))))
        .collect()
}

/// What is answered for a handler that panicked; the log has the panic.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Failure::new(ErrorCode::Internal, "a defect of the broker; its log has the cause under the ids given here").into_response()
}

struct BrokerProbe {
    state: AppState,
    spans: StatusHandle,
}

impl Probe for BrokerProbe {
    fn checks(&self) -> BTreeMap<String, Check> {
        let database = match self.state.feed.trouble() {
            None if self.state.feed.is_restored() => {
                Check::failing("database_restored: it is older than what agents know: run brokkr-broker restore-epoch")
            }
            None => Check::ok(""),
            Some(kind) => Check::failing(format!("{kind}: polls without changes are answered, everything else waits for it")),
        };
        BTreeMap::from([("database".to_owned(), database), ("telemetry".to_owned(), telemetry_check(&self.spans.status()))])
    }
}
