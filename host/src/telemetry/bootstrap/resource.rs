//! What this process is, as attributes of everything it exports: program, process,
//! host, operating system, container, cluster.
//!
//! Order: what is detected, then `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`.
//! What can't be found out is left out.

use std::path::Path;

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;

use super::settings::ResourceSettings;

const DEFAULT_SERVICE_NAME: &str = "spanloom";

/// Files that tell about the machine, and their texts where they can be read.
#[derive(Debug, Default)]
struct Machine {
    /// `/proc/sys/kernel/hostname`
    host_name: Option<String>,
    /// `/etc/machine-id`
    machine_id: Option<String>,
    /// `/proc/sys/kernel/osrelease`
    kernel: Option<String>,
    /// `/etc/os-release`
    os_release: Option<String>,
    /// `/proc/self/cgroup`, which names the container under version 1.
    cgroup: Option<String>,
    /// `/proc/self/mountinfo`, which names it under version 2.
    mounts: Option<String>,
}

/// The resource of all signals.
pub fn detect(settings: &ResourceSettings) -> Resource {
    resource(settings, &Machine::read())
}

fn resource(settings: &ResourceSettings, machine: &Machine) -> Resource {
    let mut all = program(settings.index_format);
    all.extend(process());
    all.extend(machine.attributes());
    all.extend(settings.platform.iter().map(|(name, value)| KeyValue::new(*name, value.clone())));
    all.extend(settings.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())));
    let name = settings.service_name.iter().map(|name| KeyValue::new("service.name", name.clone()));
    // Of one key the last value counts.
    Resource::builder_empty().with_attributes(all.into_iter().chain(name)).build()
}

fn program(index_format: u32) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("service.name", DEFAULT_SERVICE_NAME),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("spanloom.index.format", i64::from(index_format)),
        KeyValue::new("spanloom.build.profile", env!("SPANLOOM_BUILD_PROFILE")),
        KeyValue::new("spanloom.build.target", env!("SPANLOOM_BUILD_TARGET")),
        KeyValue::new("spanloom.build.rustc", env!("SPANLOOM_BUILD_RUSTC")),
    ];
    // Written by the SDK alone, which knows its version.
    let sdk = Resource::builder().build();
    all.extend(sdk.get(&"telemetry.sdk.version".into()).map(|version| KeyValue::new("telemetry.sdk.version", version)));
    all
}

/// Without the command line: it may hold what is nobody's business.
fn process() -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("process.runtime.name", "rustc"),
        KeyValue::new("process.runtime.version", env!("SPANLOOM_BUILD_RUSTC")),
    ];
    if let Ok(path) = std::env::current_exe() {
        all.extend(path.file_name().map(|name| KeyValue::new("process.executable.name", name.to_string_lossy().into_owned())));
        all.push(KeyValue::new("process.executable.path", path.to_string_lossy().into_owned()));
    }
    all
}

impl Machine {
    fn read() -> Machine {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
        Machine {
            host_name: read("/proc/sys/kernel/hostname"),
            machine_id: read("/etc/machine-id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_release: read("/etc/os-release"),
            cgroup: read("/proc/self/cgroup"),
            mounts: read("/proc/self/mountinfo"),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let text = |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let release = |key: &str| self.os_release.as_deref().and_then(|release| release_value(release, key));
        let container = self.cgroup.as_deref().and_then(container_of_cgroup);
        let found: [(&'static str, Option<String>); 8] = [
            ("host.name", text(&self.host_name)),
            ("host.id", text(&self.machine_id)),
            ("host.arch", Some(architecture().into())),
            ("os.type", Some(std::env::consts::OS.into())),
            ("os.name", release("NAME")),
            ("os.version", release("VERSION_ID")),
            ("os.description", text(&self.kernel)),
            ("container.id", container.or_else(|| self.mounts.as_deref().and_then(container_of_mounts))),
        ];
        found.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, Value::from(value?)))).collect()
    }
}

/// In the words of the semantic conventions.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A value of `/etc/os-release`, without its quotes.
fn release_value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
}

/// The last part of a control group's path, when it is a container's id:
/// `1:name=systemd:/docker/<id>`, `…/crio-<id>.scope`.
fn container_of_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        let last = last.strip_suffix(".scope").unwrap_or(last);
        container_id(last.rsplit('-').next()?)
    })
}

/// The id in the paths of files that runtimes mount into every container, such as
/// `/var/lib/docker/containers/<id>/hostname`. Ids elsewhere are those of layers.
fn container_of_mounts(text: &str) -> Option<String> {
    const MOUNTED: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mounted_at) = (fields.next()?, fields.next()?);
        if !MOUNTED.contains(&mounted_at) {
            return None;
        }
        root.split('/').find_map(container_id)
    })
}

/// 64 hexadecimal digits.
fn container_id(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a4d00c9dd675d67f866c786181419e1b44832d4696780152e61afd44a3e02856";

    #[test]
    fn containers_are_found_in_control_groups() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(container_of_cgroup(text).as_deref(), expect, "{text}");
        check(&format!("13:name=systemd:/podruntime/docker/kubepods/{ID}\n"), Some(ID));
        check(&format!("2:cpu:/\n1:memory:/docker/{ID}\n"), Some(ID));
        check(&format!("0::/kubepods.slice/crio-{ID}.scope"), Some(ID));
        check(&format!("0::/system.slice/docker-{ID}.scope\n"), Some(ID));
        check("0::/\n", None);
        check("0::/user.slice/user-1000.slice/session-2.scope\n", None);
        check("0::/docker/abc\n", None);
        check("", None);
    }

    #[test]
    fn containers_are_found_in_mounts() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(container_of_mounts(text).as_deref(), expect, "{text}");
        let docker = format!(
            "473 456 254:1 /docker/volumes/x /data rw - ext4 /dev/vda1 rw\n474 456 254:1 /docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n"
        );
        check(&docker, Some(ID));
        let podman = format!("983 961 0:56 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n");
        check(&podman, Some(ID));
        // A layer's id is not the container's.
        check(&format!("22 1 0:5 /overlay2/{ID}/diff / rw - overlay overlay rw\n"), None);
        check("garbage", None);
        check("1 2 3 /etc/hostname", None);
    }

    #[test]
    fn machines_are_described_by_their_files() {
        let machine = Machine {
            host_name: Some("build-7\n".into()),
            machine_id: Some("0123456789abcdef0123456789abcdef\n".into()),
            kernel: Some("6.1.0-18-amd64\n".into()),
            os_release: Some("PRETTY_NAME=\"Debian 12\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nID=debian\n".into()),
            cgroup: Some("0::/\n".into()),
            mounts: Some(format!("1 1 0:1 /containers/{ID}/hosts /etc/hosts rw - ext4 x rw")),
        };
        let resource = resource(&ResourceSettings::default(), &machine);
        let check = |key: &'static str, expect: &str| {
            assert_eq!(resource.get(&key.into()).map(|value| value.to_string()), Some(expect.into()), "{key}")
        };
        check("host.name", "build-7");
        check("host.id", "0123456789abcdef0123456789abcdef");
        check("os.type", "linux");
        check("os.name", "Debian GNU/Linux");
        check("os.version", "12");
        check("os.description", "6.1.0-18-amd64");
        check("container.id", ID);
        check("service.name", "spanloom");
        check("service.version", env!("CARGO_PKG_VERSION"));
        check("telemetry.sdk.language", "rust");
        check("process.pid", &std::process::id().to_string());
        assert!(resource.get(&"telemetry.sdk.version".into()).is_some());
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let resource = resource(&ResourceSettings::default(), &Machine { machine_id: Some("\n".into()), ..Machine::default() });
        for key in ["host.name", "host.id", "os.name", "os.version", "container.id", "k8s.pod.name"] {
            assert_eq!(resource.get(&key.into()), None, "{key}");
        }
    }

    #[test]
    fn what_is_given_goes_first() {
        let settings = ResourceSettings {
            service_name: Some("by-name".into()),
            attributes: vec![
                ("service.name".into(), "by-attribute".into()),
                ("host.name".into(), "mine".into()),
                ("team".into(), "x".into()),
            ],
            platform: vec![("k8s.pod.name", "pod-1".into()), ("host.name", "node".into())],
            index_format: 3,
        };
        let machine = Machine { host_name: Some("detected".into()), ..Machine::default() };
        let read =
            |settings: &ResourceSettings, key: &'static str| resource(settings, &machine).get(&key.into()).map(|value| value.to_string());
        assert_eq!(read(&settings, "service.name").as_deref(), Some("by-name"));
        assert_eq!(read(&settings, "host.name").as_deref(), Some("mine"));
        assert_eq!(read(&settings, "team").as_deref(), Some("x"));
        assert_eq!(read(&settings, "k8s.pod.name").as_deref(), Some("pod-1"));
        assert_eq!(read(&settings, "spanloom.index.format").as_deref(), Some("3"));
        let unnamed = ResourceSettings { service_name: None, ..settings };
        assert_eq!(read(&unnamed, "service.name").as_deref(), Some("by-attribute"));
    }
}
