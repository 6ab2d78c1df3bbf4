//! `brokkr revoke`.

use brokkr_api::{KeyId, RegistrationTokenId};
use clap::Subcommand;

use super::Outcome;
use crate::connection::ConnectionArgs;

/// Make a key or a registration token worthless.
#[derive(Debug, Subcommand)]
pub(crate) enum Revoke {
    /// A key: it opens nothing any more
    Key {
        /// The key's id, of `brokkr get keys`
        id: KeyId,
    },
    /// A registration token: nobody enrols with it any more
    Token {
        /// The token's id, of `brokkr get tokens`
        id: RegistrationTokenId,
    },
}

pub(crate) async fn run(connection: &ConnectionArgs, revoke: Revoke) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    match revoke {
        Revoke::Key { id } => {
            client.revoke_key(id).await?;
            anstream::println!("key {id} is revoked");
        }
        Revoke::Token { id } => {
            client.revoke_registration_token(id).await?;
            anstream::println!("registration token {id} is revoked");
        }
    }
    Ok(Outcome::Done)
}
