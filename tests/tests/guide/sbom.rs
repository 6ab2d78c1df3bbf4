//! The list of crates that goes into each image, against what the programs and `Cargo.lock` say themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use brokkr_tests::lab::built;
use serde_json::Value;

const PROGRAMS: [&str; 3] = ["brokkr-broker", "brokkr-agent", "brokkr"];

/// In the programs that are built with the tests only: `brokkr-tests` asks for answers that are decompressed.
const FOR_TESTS: [&str; 3] = ["async-compression", "compression-codecs", "compression-core"];

/// Never in a program: tests, build scripts, macros, and databases that nobody asked for.
const ELSEWHERE: [&str; 7] = ["proptest", "rcgen", "tempfile", "cc", "syn", "serde_derive", "sqlx-mysql"];

#[test]
fn each_list_names_what_its_program_is_made_of_and_nothing_of_this_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let lists = lists(root);
    let locked = locked(root);
    for program in PROGRAMS {
        let text = fs::read_to_string(lists.path().join(format!("{program}.cdx.json"))).unwrap();
        for path in [root.to_str().unwrap(), lists.path().to_str().unwrap(), "file:", "/home/", "/root/", "/tmp/"] {
            assert!(!text.contains(path), "{program}: {path} is in it");
        }
        let bom: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((bom["bomFormat"].as_str(), bom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));

        let listed = listed(&bom);
        for (name, component) in &listed {
            let version = component["version"].as_str().unwrap();
            let checksum = locked.get(&(name.rsplit_once('@').unwrap().0.to_owned(), version.to_owned()));
            let checksum = checksum.unwrap_or_else(|| panic!("{program}: {name} is not in Cargo.lock"));
            assert_eq!(component["hashes"][0]["content"].as_str(), checksum.as_deref(), "{program}: {name}");
            assert_eq!(component["purl"], format!("pkg:cargo/{name}"), "{program}");
            assert!(component["licenses"][0].is_object(), "{program}: {name} has no licence");
        }
        for name in ELSEWHERE {
            assert!(!listed.keys().any(|listed| listed.starts_with(&format!("{name}@"))), "{program}: {name}");
        }
        for name in named_by(&built(program).unwrap()) {
            let for_tests = FOR_TESTS.iter().any(|for_tests| name.starts_with(&format!("{for_tests}@")));
            assert!(for_tests || listed.contains_key(&name), "{program} is made of {name} too");
        }
        related(&bom, program);
    }
}

/// The script's lists for amd64, which are those for arm64 but for some crates that only one processor needs.
fn lists(root: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("bash").arg(root.join("scripts/sbom.sh")).arg("amd64").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// Name and version of every crate of `Cargo.lock`, and its checksum unless it is ours.
fn locked(root: &Path) -> BTreeMap<(String, String), Option<String>> {
    let lock: toml::Table = fs::read_to_string(root.join("Cargo.lock")).unwrap().parse().unwrap();
    let text = |package: &toml::Value, key| package.get(key).and_then(toml::Value::as_str).map(ToOwned::to_owned);
    let packages = lock["package"].as_array().unwrap();
    packages
        .iter()
        .map(|package| ((text(package, "name").unwrap(), text(package, "version").unwrap()), text(package, "checksum")))
        .collect()
}

/// The components by `name@version`.
fn listed(bom: &Value) -> BTreeMap<String, &Value> {
    let components = bom["components"].as_array().unwrap();
    let name = |component: &Value| format!("{}@{}", component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
    let listed: BTreeMap<_, _> = components.iter().map(|component| (name(component), component)).collect();
    assert_eq!(listed.len(), components.len(), "a crate is listed twice");
    listed
}

/// `name@version` of the crates whose sources a program names, in its line tables and in its panics.
fn named_by(program: &Path) -> BTreeSet<String> {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["--text", "--only-matching", "--extended-regexp", "/registry/src/[^/]+/[a-zA-Z0-9_.+-]+/"]);
    let output = grep.arg(program).output().unwrap();
    // The version begins behind the first hyphen that a whole number and a dot follow.
    let is_version = |text: &str| text.split_once('.').is_some_and(|(major, _)| major.parse::<u32>().is_ok());
    let name = |path: &str| {
        let folder = path.trim_end_matches('/').rsplit('/').next()?;
        let (hyphen, _) = folder.match_indices('-').find(|(at, _)| is_version(&folder[at + 1..]))?;
        Some(format!("{}@{}", &folder[..hyphen], &folder[hyphen + 1..]))
    };
    let names: BTreeSet<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(name).collect();
    assert!(names.len() > 100, "{} names its crates no more: {names:?}", program.display());
    names
}

/// Who needs whom is said of listed crates only.
fn related(bom: &Value, program: &str) {
    let reference = |component: &Value| component["bom-ref"].as_str().unwrap().to_owned();
    let mut known: Vec<_> = bom["components"].as_array().unwrap().iter().map(reference).collect();
    known.push(reference(&bom["metadata"]["component"]));
    let relations = bom["dependencies"].as_array().unwrap();
    assert_eq!(relations.len(), known.len(), "{program}: somebody's needs are missing");
    for relation in relations {
        let needed = relation["dependsOn"].as_array().map_or(&[][..], Vec::as_slice);
        for one in needed.iter().chain([&relation["ref"]]) {
            assert!(known.contains(&one.as_str().unwrap().to_owned()), "{program}: {one}");
        }
    }
}
