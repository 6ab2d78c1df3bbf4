//! The first start: one admin key, shown once. There is no default key.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use brokkr_api::{KeyId, keys::Role};
use brokkr_runtime::{Clock, Ids, durable};

use crate::{
    domain::key,
    store::{Db, Error, NewKey, Tx},
};

/// Why there is no first key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("the first admin key cannot be stored")]
    Store(#[from] Error),
    #[error("bootstrap.admin_key_file: {} cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("bootstrap.admin_key_file: {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("bootstrap.admin_key_file: {} holds no admin key", path.display())]
    NoKey { path: PathBuf },
}

/// What became of the first key.
pub(crate) enum Bootstrap {
    /// There were keys already.
    Unneeded,
    /// The key, to be shown once.
    Show(String),
    /// The key is in this file, where the broker has put it.
    Written(PathBuf),
    /// The key was in this file already.
    Taken(PathBuf),
}

/// Makes the first admin key when there is no key at all, or takes it from its file. Brokers that start together have one between them.
pub(crate) async fn first_admin_key(
    db: &Db,
    clock: &dyn Clock,
    ids: &dyn Ids,
    file: Option<&Path>,
) -> Result<Bootstrap, BootstrapError> {
    let mut tx = db.begin().await?;
    // Taking a change number locks its row: of two brokers that start together the second one sees the first one's key.
    let change = tx.next_change().await?;
    if tx.count_keys().await? > 0 {
        return Ok(Bootstrap::Unneeded);
    }
    if let Some(path) = file
        && let Some(digest) = digest_in(path)?
    {
        insert_admin_key(&mut tx, "first-admin", digest, change, clock, ids).await?;
        tx.commit().await?;
        return Ok(Bootstrap::Taken(path.to_owned()));
    }
    let (secret, digest) = key::generate(Role::Admin, ids);
    insert_admin_key(&mut tx, "first-admin", digest, change, clock, ids).await?;
    // Written before the commit, so that there is never a key that nobody has.
    if let Some(path) = file {
        durable::replace(path, &format!("{secret}\n"))
            .map_err(|source| BootstrapError::File { path: path.to_owned(), source })?;
    }
    tx.commit().await?;
    Ok(file.map_or(Bootstrap::Show(secret), |path| Bootstrap::Written(path.to_owned())))
}

/// The digest of the key that somebody else made, in a mounted Secret for instance; nothing where there is no such file.
fn digest_in(path: &Path) -> Result<Option<String>, BootstrapError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BootstrapError::Unreadable { path: path.to_owned(), source }),
    };
    let key = text.trim();
    // An empty file or half a key would lock everybody out of the new installation.
    if key::is_well_formed_admin(key) { Ok(Some(key::digest(key))) } else { Err(BootstrapError::NoKey { path: path.to_owned() }) }
}

/// Makes an admin key beside those that there are: for whoever has the database and no key.
pub(crate) async fn another_admin_key(db: &Db, clock: &dyn Clock, ids: &dyn Ids) -> Result<String, BootstrapError> {
    let mut tx = db.begin().await?;
    let change = tx.next_change().await?;
    let (secret, digest) = key::generate(Role::Admin, ids);
    insert_admin_key(&mut tx, "recovered-admin", digest, change, clock, ids).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    Ok(secret)
}

async fn insert_admin_key(
    tx: &mut Tx,
    name: &str,
    digest: String,
    change: u64,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(), BootstrapError> {
    let now = clock.now();
    let name =
        brokkr_api::Name::try_from(name.to_owned()).map_err(|source| Error::Corrupt { column: "name", source: source.into() })?;
    let new = NewKey {
        id: KeyId(ids.uuid(now)),
        name,
        role: Role::Admin,
        generator: None,
        agent: None,
        digest,
        created_at: now,
        expires_at: None,
        scopes: Vec::new(),
        pending: false,
    };
    tx.insert_key(&new, change).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        config::DatabaseConfig,
        store,
        testing::{Engine, World},
    };

    /// A database beside the world's, which has keys already.
    async fn without_keys(world: &World, url: String) -> Db {
        let config = DatabaseConfig { url, ..DatabaseConfig::default() };
        let (clock, ids) = (&*world.state.clock, &*world.state.ids);
        store::open(&config, world.capture.telemetry().broker_metrics(), clock, ids).await.unwrap().0
    }

    #[tokio::test]
    async fn brokers_that_start_together_make_one_key_between_them() {
        let world = World::start(Engine::Sqlite).await;
        let url = brokkr_tests::postgres::Postgres::shared().create_database().unwrap();
        let db = without_keys(&world, url).await;
        let (clock, ids) = (&*world.state.clock, &*world.state.ids);
        let (one, other) = futures::join!(first_admin_key(&db, clock, ids, None), first_admin_key(&db, clock, ids, None));
        let shown = [one.unwrap(), other.unwrap()].into_iter().filter(|made| matches!(made, Bootstrap::Show(_))).count();
        assert_eq!(shown, 1);
    }

    #[tokio::test]
    async fn whoever_lost_every_key_makes_another_from_the_database() {
        Engine::each(async |world: World| {
            let key = another_admin_key(&world.state.db, &*world.state.clock, &*world.state.ids).await.unwrap();
            world.get(&key, "/api/v1/keys").await.expect(200);
        })
        .await;
    }

    #[tokio::test]
    async fn a_key_that_stands_in_the_file_already_becomes_the_first_one_and_half_a_key_stops_the_start() {
        let world = World::start(Engine::Sqlite).await;
        let folder = tempfile::tempdir().unwrap();
        let db = without_keys(&world, format!("sqlite:{}", folder.path().join("b.db").display())).await;
        let (clock, ids) = (&*world.state.clock, &*world.state.ids);
        let file = folder.path().join("key");
        let (secret, digest) = key::generate(Role::Admin, ids);
        for wrong in ["", &secret[1..], &key::generate(Role::Agent, ids).0] {
            fs::write(&file, wrong).unwrap();
            assert!(matches!(first_admin_key(&db, clock, ids, Some(&file)).await, Err(BootstrapError::NoKey { .. })));
        }

        fs::write(&file, format!("{secret}\n")).unwrap();
        assert!(matches!(first_admin_key(&db, clock, ids, Some(&file)).await, Ok(Bootstrap::Taken(_))));
        assert!(db.find_key(&digest).await.unwrap().is_some());
        assert!(matches!(first_admin_key(&db, clock, ids, Some(&file)).await, Ok(Bootstrap::Unneeded)));
    }

    #[tokio::test]
    async fn the_file_of_the_first_key_is_for_its_owner_alone_and_is_there_before_the_key_works() {
        let world = World::start(Engine::Sqlite).await;
        let folder = tempfile::tempdir().unwrap();
        let db = without_keys(&world, format!("sqlite:{}", folder.path().join("b.db").display())).await;
        let (clock, ids) = (&*world.state.clock, &*world.state.ids);

        let nowhere = folder.path().join("missing/key");
        assert!(matches!(first_admin_key(&db, clock, ids, Some(&nowhere)).await, Err(BootstrapError::File { .. })));
        let file = folder.path().join("key");
        assert!(
            matches!(first_admin_key(&db, clock, ids, Some(&file)).await, Ok(Bootstrap::Written(_))),
            "nothing was stored before"
        );

        let key = fs::read_to_string(&file).unwrap();
        assert!(key::is_well_formed(key.trim()));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(first_admin_key(&db, clock, ids, Some(&file)).await, Ok(Bootstrap::Unneeded)));
    }
}
