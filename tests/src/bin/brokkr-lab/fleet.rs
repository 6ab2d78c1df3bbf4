use crate::tell;
use brokkr_tests::{
    lab::{LabError, Orders, raise_file_limit, serve},
    simulator::{Fleet, FleetOptions},
};

pub(super) async fn run(options: &FleetOptions, orders: &mut Orders) -> Result<(), LabError> {
    raise_file_limit();
    tell(&format!("making {} agents …", options.agents));
    let Some(fleet) = orders.unless_stopped(Fleet::start(options)).await else { return Ok(()) };
    let fleet = fleet?;
    tell(concat!(
        "ready: they poll. Commands, one a line: {\"do\":\"counts\"}, {\"do\":\"off\"}, {\"do\":\"on\"},\n",
        "{\"do\":\"push\",\"stack\":NAME,\"objects\":1,\"bytes\":100,\"value\":\"a\"}, {\"do\":\"hammer\",\"agent\":0,\"polls\":1000}; Ctrl-C ends it.\n",
    ));
    serve(fleet, orders).await
}
