//! Each feature of each crate compiles alone, and each crate without any.

use cargo_metadata::Package;

use crate::{
    arch,
    failure::Failure,
    process::{cargo, run as start},
};

pub(crate) fn run() -> Result<(), Failure> {
    let metadata = arch::metadata()?;
    for package in metadata.workspace_packages() {
        for feature in alone(package) {
            check(&package.name, feature)?;
        }
    }
    Ok(())
}

/// What to compile a crate with: nothing, then each feature. A crate without features has nothing
/// to choose, and `default` is only a name for others.
fn alone(package: &Package) -> Vec<Option<&str>> {
    let features: Vec<&str> =
        package.features.keys().map(String::as_str).filter(|name| *name != "default").collect();
    if features.is_empty() {
        return Vec::new();
    }
    std::iter::once(None).chain(features.into_iter().map(Some)).collect()
}

fn check(package: &str, feature: Option<&str>) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["check", "--quiet", "--package", package, "--no-default-features"]);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    start(&format!("{package} with {}", feature.unwrap_or("no feature")), &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Vec<Option<String>> {
        let metadata = arch::metadata().expect("cargo metadata works");
        let packages = metadata.workspace_packages();
        let package = packages.iter().find(|it| it.name == name).expect("a member");
        alone(package).into_iter().map(|it| it.map(str::to_owned)).collect()
    }

    #[test]
    fn a_crate_is_compiled_without_and_with_each_of_its_features() {
        let combinations = of("baldur");
        assert_eq!(combinations[0], None);
        for feature in ["memory", "postgres", "sqlite"] {
            assert!(combinations.contains(&Some(feature.to_owned())), "{feature}");
        }
        assert!(!combinations.contains(&Some("default".to_owned())));
    }

    #[test]
    fn a_crate_without_features_is_left_to_the_other_steps() {
        assert_eq!(of("xtask"), []);
    }
}
