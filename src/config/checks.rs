//! Whether the values fit each other. A value that was refused is in no check: it has been
//! reported, and its default means nothing.

use super::callers;
use super::certificates::Certificates;
use super::knobs::{Slot, grouped, path};
use super::reading::Reading;
use super::table::{FLOORS, Floor, ORDERS, Relation, SECTIONS};
use super::tls::{BadTls, ListenerTls, Read, Speaks, Tls};
use super::{Config, OPEN};
use crate::settle::{Mark, Repeats, TradeSystem};

/// Checks what one knob alone cannot know; returns the warnings.
pub(super) fn check(reading: &mut Reading) -> Vec<String> {
    check_floors(reading);
    check_mark(reading);
    for order in ORDERS {
        let (shorter, longer) = (knob(reading, order.shorter), knob(reading, order.longer));
        let (Some(shorter), Some(longer)) = (shorter, longer) else { continue };
        let (fits, must) = match order.relation {
            Relation::Less => (shorter.ms < longer.ms, "less than"),
            Relation::AtMost => (shorter.ms <= longer.ms, "at most"),
        };
        if !fits {
            let problem = format!("{} must be {must} {}", shorter.shown, longer.shown);
            reading.problem_of_all(problem);
        }
    }
    let mut warnings: Vec<String> =
        LISTENERS.iter().filter_map(|keys| check_tls(reading, keys)).collect();
    let app_ids: Vec<_> = reading.apps.iter().map(|app| app.draft.app_id.as_ref()).collect();
    let default_app = reading.config.grpc.default_app.as_ref();
    if let (Some(app_id), Some(at)) = (default_app, reading.set.get("default_app"))
        && !app_ids.contains(&Some(app_id))
    {
        let problem = format!("default_app is {app_id}, which is not one of apps");
        reading.problem(&at.clone(), problem);
    }
    warnings.extend(check_open(reading));
    warnings
}

/// Whether other machines could move money because no caller is configured. An operator who wants
/// that says so, and gets a warning.
fn check_open(reading: &mut Reading) -> Option<String> {
    let addr = reading.config.grpc_addr;
    let far = !addr.ip().is_loopback() && !reading.bad.contains(ADDR);
    // What comes through a sidecar comes from other machines, too.
    let key = if far { ADDR } else { callers::SOCKET };
    let is_reached = far || reading.config.sidecar_socket.is_some();
    if !is_reached || callers::are_named(reading) {
        return None;
    }
    let at = reading.set.get(key).cloned().expect("its default reaches no other machine");
    let is = if far { addr.to_string() } else { "set".to_owned() };
    let open = format!("{key} is {is} and no caller is configured: {OPEN}");
    if reading.config.open_to_anyone {
        return Some(format!("{at}: {open}"));
    }
    if !reading.bad.contains(ALLOWED) {
        let text = format!(
            "{open}. Say who may call, at the end of the configuration file (or, if all that \
             reach it may, set {ALLOWED} = true):"
        );
        let lines = callers::example(reading.apps.len());
        reading.problem_with_lines(&at, &text, &lines);
    }
    None
}

const ADDR: &str = "server.grpc_addr";
const ALLOWED: &str = "server.allow_anyone_to_move_money";

/// Whether the knobs on which money hangs are safe, if there is money.
fn check_floors(reading: &mut Reading) {
    if reading.config.rehearsal || reading.bad.contains("rehearsal") {
        return;
    }
    for Floor { knob: (section, key), least_ms, .. } in FLOORS {
        let low = knob(reading, (section, key)).filter(|knob| knob.ms < u128::from(*least_ms));
        let path = path(section, key);
        if let (Some(low), Some(at)) = (low, reading.set.get(&path).cloned()) {
            let (is, least) = (grouped(&low.ms.to_string()), grouped(&least_ms.to_string()));
            let must = format!("it must be at least {least} unless rehearsal is true");
            reading.problem(&at, format!("{path} is {is}; {must}"));
        }
    }
}

/// Where an acceptance does not show whose a settle is, only the mark does. A caller's own `ext`
/// would too, but no caller has to give one.
fn check_mark(reading: &mut Reading) {
    let proves_nothing = |system: &TradeSystem| system.repeats() == Repeats::AnsweredAlike;
    let apps = reading.config.apps.iter();
    let mut unproven = apps.filter_map(|app| {
        let system = app.trade_systems.iter().copied().find(proves_nothing)?;
        Some((app.app_id.clone(), system.as_str()))
    });
    if let (Mark::Off, Some((app_id, system))) = (reading.config.gateway.mark, unproven.next()) {
        let at = reading.set.get(MARK).cloned().expect("its default is on");
        let why = "where nothing but the mark shows whose a settle is";
        let problem = format!(
            "{MARK} is false, and the app {app_id} has the system {system}, {why}: set it to true, \
             or take {system} out of the systems of the app"
        );
        reading.problem(&at, problem);
    }
}

const MARK: &str = "settle.mark";

/// The keys of one listener's certificate.
struct TlsKeys {
    certificate: &'static str,
    key: &'static str,
    /// `None`: it asks for no client certificate.
    client_ca: Option<&'static str>,
    speaks: Speaks,
    of: fn(&mut Config) -> &mut ListenerTls,
}

const LISTENERS: [TlsKeys; 3] = [
    TlsKeys {
        certificate: "server.grpc_tls_certificate_file",
        key: "server.grpc_tls_key_file",
        client_ca: Some("server.grpc_client_ca_file"),
        speaks: Speaks::Grpc,
        of: |config| &mut config.grpc_tls,
    },
    TlsKeys {
        certificate: "server.callback_tls_certificate_file",
        key: "server.callback_tls_key_file",
        client_ca: None,
        speaks: Speaks::Http,
        of: |config| &mut config.callback.tls,
    },
    TlsKeys {
        certificate: "server.admin_tls_certificate_file",
        key: "server.admin_tls_key_file",
        client_ca: None,
        speaks: Speaks::Http,
        of: |config| &mut config.admin_tls,
    },
];

/// Reads the certificate of a listener, if there shall be one; returns a warning.
fn check_tls(reading: &mut Reading, keys: &TlsKeys) -> Option<String> {
    let files = (keys.of)(&mut reading.config).clone();
    let lacks = |key: &str| format!("is set and {key} is not");
    let (path, why) = match (&files.certificate_file, &files.key_file, &files.client_ca_file) {
        (None, None, None) => return None,
        (Some(_), None, _) => (keys.certificate, lacks(keys.key)),
        (None, Some(_), _) => (keys.key, lacks(keys.certificate)),
        (None, None, Some(_)) => {
            let path = keys.client_ca.expect("only a listener that has the key can set it");
            (path, lacks(keys.certificate))
        }
        (Some(certificate), Some(key), client_ca) => {
            match Tls::read_for(keys.speaks, certificate, key, client_ca.as_deref()) {
                Ok(Read { tls, presented, authorities, warning }) => {
                    (keys.of)(&mut reading.config).tls = Some(tls);
                    let presented = Certificates::presented(keys.certificate, presented);
                    reading.certificates.push(presented);
                    let authorities = keys.client_ca.zip(authorities);
                    let authorities =
                        authorities.map(|(key, all)| Certificates::authorities(key, all));
                    reading.certificates.extend(authorities);
                    let at = reading.set.get(keys.key).expect("a value without a default was set");
                    return warning.map(|warning| format!("{at}: {} {warning}", keys.key));
                }
                Err(BadTls::Certificate(why)) => (keys.certificate, why),
                Err(BadTls::Key(why)) => (keys.key, why),
                Err(BadTls::ClientCa(why)) => {
                    (keys.client_ca.expect("only a file that was named can be bad"), why)
                }
            }
        }
    };
    let at = reading.set.get(path).cloned().expect("a value without a default was set");
    reading.problem(&at, format!("{path} {why}"));
    None
}

/// A duration, with what a person needs to find its key.
struct Checked {
    ms: u128,
    shown: String,
}

/// `None`: its value was refused.
fn knob(reading: &mut Reading, (section, key): (&str, &str)) -> Option<Checked> {
    let path = path(section, key);
    let sections = SECTIONS.iter().filter(|other| other.name == section);
    let knob = sections.flat_map(|section| section.knobs).find(|knob| knob.key == key)?;
    let ms = of_ms(&knob.slot, &mut reading.config).filter(|_| !reading.bad.contains(&path))?;
    let from = reading.set.get(&path);
    let from = from.map_or("the default".to_owned(), ToString::to_string);
    Some(Checked { ms, shown: format!("{path} ({ms}, {from})") })
}

fn of_ms(slot: &Slot<Config>, config: &mut Config) -> Option<u128> {
    match slot {
        Slot::Ms { of, .. } => Some(of(config).as_millis()),
        Slot::Count { .. }
        | Slot::Number { .. }
        | Slot::Switch { .. }
        | Slot::Word { .. }
        | Slot::Address { .. }
        | Slot::Hosts { .. }
        | Slot::Texts { .. }
        | Slot::Path { .. }
        | Slot::Text { .. }
        | Slot::Optional { .. }
        | Slot::App { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_names_two_durations() {
        let mut reading = Reading::default();
        for order in ORDERS {
            assert!(knob(&mut reading, order.shorter).is_some(), "{:?}", order.shorter);
            assert!(knob(&mut reading, order.longer).is_some(), "{:?}", order.longer);
        }
    }

    #[test]
    fn every_floor_names_a_duration_whose_default_is_not_below_it() {
        let mut reading = Reading::default();
        for Floor { knob: of, least_ms, .. } in FLOORS {
            let default = knob(&mut reading, *of).expect("a duration");
            assert!(default.ms >= u128::from(*least_ms), "{of:?}");
        }
    }
}
