//! Which components fit this host: what they import and export, and in which version.

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::engine::PluginEngine;
use crate::types::Stage;

/// The package every plugin is built against.
pub const CONTRACT_PACKAGE: &str = "spanloom:search";
/// The version of that package.
pub const CONTRACT_VERSION: &str = "0.1.2";

/// What a component imports and exports, by name, in its own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surface {
    pub imports: Vec<Interface>,
    pub exports: Vec<Interface>,
}

/// An interface as a component names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Such as `spanloom:search/fusion@0.1.0`.
    pub name: String,
    /// Its functions, where it is an interface.
    pub functions: Vec<String>,
}

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Surface {
    /// # Errors
    /// Why the bytes are no component.
    pub fn read(engine: &PluginEngine, bytes: &[u8]) -> Result<Surface, String> {
        let component =
            Component::new(&engine.engine, bytes).map_err(|error| format!("{error:#}").lines().next().unwrap_or_default().to_owned())?;
        Ok(Surface::of(&engine.engine, &component))
    }

    pub fn of(engine: &Engine, component: &Component) -> Surface {
        let kind = component.component_type();
        let interface = |name: &str, item: &ComponentItem| {
            let functions = match item {
                ComponentItem::ComponentInstance(instance) => instance
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                    .map(|(name, _)| name.to_owned())
                    .collect(),
                _ => Vec::new(),
            };
            Interface { name: name.to_owned(), functions }
        };
        Surface {
            imports: kind.imports(engine).map(|(name, item)| interface(name, &item.ty)).collect(),
            exports: kind.exports(engine).map(|(name, item)| interface(name, &item.ty)).collect(),
        }
    }

    /// The stage that the component is for, by what it exports; the first when there
    /// are several, `None` when it exports no stage of the contract in any version.
    pub fn stage(&self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| self.exports.iter().any(|export| export.local() == Some(stage.as_str())))
    }

    /// The version of the contract that the component was built against.
    pub fn version(&self) -> Option<String> {
        let ours = self.exports.iter().chain(&self.imports).filter(|interface| interface.local().is_some());
        ours.filter_map(Interface::version).max().map(|version| version.to_string())
    }

    /// Checks the component against the world of a stage, before the linker says in
    /// its own words what doesn't fit.
    ///
    /// # Errors
    /// A sentence that names both sides.
    pub fn check(&self, stage: Stage) -> Result<(), String> {
        let wanted = format!("{CONTRACT_PACKAGE}/{stage}@{CONTRACT_VERSION}");
        let ours = || self.exports.iter().filter(|export| export.local().is_some());
        let Some(export) = ours().find(|export| export.local() == Some(stage.as_str())).or_else(|| ours().next()) else {
            return Err(format!("exports nothing of {CONTRACT_PACKAGE}; a {stage} plugin exports `{wanted}`"));
        };
        if export.local() != Some(stage.as_str()) {
            return Err(format!("exports `{}`; this host asks a {stage} plugin for `{wanted}`", export.name));
        }
        let foreign = std::iter::once(export).chain(self.imports.iter().filter(|import| import.local().is_some())).find(|interface| {
            let fits = |(theirs, host): (Version, Version)| (theirs.major, theirs.minor) == (host.major, host.minor);
            !interface.version().zip(host_version()).is_some_and(fits)
        });
        if let Some(foreign) = foreign {
            let version = foreign.version().map_or_else(|| "no version".to_owned(), |version| version.to_string());
            return Err(format!(
                "was built against {CONTRACT_PACKAGE} {version} (`{}`); this host has {CONTRACT_VERSION} and takes components of that minor version, so build it again with the host's `wit/`",
                foreign.name
            ));
        }
        Ok(())
    }

    /// What to add to the linker's words when a component of a newer patch doesn't link.
    pub fn newer(&self) -> Option<String> {
        let newest = self.imports.iter().filter(|import| import.local().is_some()).filter_map(Interface::version).max()?;
        host_version()
            .filter(|host| newest > *host)
            .map(|host| format!("it was built against {CONTRACT_PACKAGE} {newest}, this host has {host}: a newer host is needed"))
    }

    /// The authority that the component asks for, by the names of [`super::Capability`]
    /// where there is one; what can never be granted says so.
    pub fn authority(&self) -> Vec<&'static str> {
        let asks = |prefix: &str| self.imports.iter().any(|import| import.name.starts_with(prefix));
        let rows = |import: &Interface| import.local() == Some("evidence") && import.functions.iter().any(|function| function == "rows");
        // Evidence of terms is free, that of rows is not.
        let documents = asks("spanloom:search/documents") || self.imports.iter().any(rows);
        let others = [
            ("spanloom:search/scoring", "scoring"),
            ("wasi:clocks/", "clocks"),
            ("wasi:random/", "random"),
            ("wasi:cli/environment", "env:NAME"),
            ("wasi:filesystem/", "files (never granted)"),
            ("wasi:sockets/", "network (never granted)"),
            ("wasi:http/", "network (never granted)"),
        ]
        .into_iter()
        .filter(|(prefix, _)| asks(prefix))
        .map(|(_, name)| name);
        documents.then_some("documents").into_iter().chain(others).collect()
    }
}

impl Interface {
    /// The name within the contract's package: `fusion`.
    fn local(&self) -> Option<&str> {
        let rest = self.name.strip_prefix(CONTRACT_PACKAGE)?.strip_prefix('/')?;
        Some(rest.split_once('@').map_or(rest, |(local, _)| local))
    }

    fn version(&self) -> Option<Version> {
        self.name.rsplit_once('@').and_then(|(_, version)| Version::parse(version))
    }
}

fn host_version() -> Option<Version> {
    Version::parse(CONTRACT_VERSION)
}

impl Version {
    /// Pre-releases and build metadata are not part of the contract's numbering.
    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(imports: &[&str], exports: &[&str]) -> Surface {
        let interfaces = |names: &[&str]| names.iter().map(|name| Interface { name: (*name).to_owned(), functions: Vec::new() }).collect();
        Surface { imports: interfaces(imports), exports: interfaces(exports) }
    }

    #[test]
    fn a_component_fits_within_its_minor_version() {
        let check = |imports: &[&str], exports: &[&str], expect: Result<(), &[&str]>| match (
            surface(imports, exports).check(Stage::Fusion),
            expect,
        ) {
            (Ok(()), Ok(())) => {}
            (Err(message), Err(parts)) => {
                assert!(parts.iter().all(|part| message.contains(part)), "{message}");
            }
            (got, expect) => panic!("{exports:?}: {got:?} instead of {expect:?}"),
        };
        check(&["spanloom:search/telemetry@0.1.0"], &["spanloom:search/fusion@0.1.0"], Ok(()));
        check(&["wasi:io/poll@0.2.6"], &["spanloom:search/fusion@0.1.9"], Ok(()));
        check(&[], &["spanloom:search/fusion@0.2.0"], Err(&["spanloom:search 0.2.0", "this host has 0.1.2"]));
        check(&[], &["spanloom:search/fusion@0.0.9"], Err(&["0.0.9", "0.1.2"]));
        check(&[], &["spanloom:search/fusion"], Err(&["no version", "0.1.2"]));
        check(&["spanloom:search/types@0.2.0"], &["spanloom:search/fusion@0.1.0"], Err(&["`spanloom:search/types@0.2.0`"]));
        check(&[], &["spanloom:search/gate@0.1.2"], Err(&["exports `spanloom:search/gate@0.1.2`", "asks a fusion plugin"]));
        check(&[], &["other:thing/fusion@0.1.2"], Err(&["exports nothing of spanloom:search"]));
    }

    #[test]
    fn stage_version_and_authority_are_read_from_names() {
        let rerank = surface(
            &["spanloom:search/documents@0.1.3", "wasi:clocks/wall-clock@0.2.6", "wasi:sockets/tcp@0.2.6"],
            &["spanloom:search/rerank@0.1.0"],
        );
        assert_eq!(rerank.stage(), Some(Stage::Rerank));
        assert_eq!(rerank.version().as_deref(), Some("0.1.3"));
        assert_eq!(rerank.authority(), ["documents", "clocks", "network (never granted)"]);
        assert!(rerank.newer().unwrap().contains("0.1.3, this host has 0.1.2"));
        assert_eq!(surface(&[], &["wasi:cli/run@0.2.0"]).stage(), None);

        let mut gate = surface(&["spanloom:search/evidence@0.1.2"], &["spanloom:search/gate@0.1.2"]);
        gate.imports[0].functions = vec!["terms".into()];
        assert_eq!(gate.authority(), [] as [&str; 0]);
        gate.imports[0].functions.push("rows".into());
        assert_eq!(gate.authority(), ["documents"]);
    }
}
