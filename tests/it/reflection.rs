//! The contract as a client without its files finds it: whole, with its comments, and with the
//! error details that a client needs to print an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor, Value};
use prost_types::{DescriptorProto, FileDescriptorProto};
use settlement_gateway::proto::DESCRIPTOR_SET;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::{Channel, Endpoint};

use crate::harness::{Gateway, within};

const PACKAGE: &str = "douyin.settlement.v1";
const SERVICES: [&str; 2] =
    ["douyin.settlement.v1.SettlementService", "douyin.settlement.v1.OperatorService"];

/// What both versions are asked for, each in its own types.
enum Asked {
    Services,
    FileOf(&'static str),
    File(&'static str),
}

/// What they answer.
enum Told {
    Services(BTreeSet<String>),
    Files(Vec<FileDescriptorProto>),
    Nothing,
}

macro_rules! ask {
    ($version:ident, $channel:expr, $asked:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = match $asked {
            Asked::Services => MessageRequest::ListServices(String::new()),
            Asked::FileOf(symbol) => MessageRequest::FileContainingSymbol(symbol.to_owned()),
            Asked::File(name) => MessageRequest::FileByFilename(name.to_owned()),
        };
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut client = ServerReflectionClient::new($channel).send_compressed(Gzip);
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        let answer = within("the answer", answers.into_inner().message()).await.unwrap().unwrap();
        match answer.message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                Told::Services(list.service.into_iter().map(|service| service.name).collect())
            }
            MessageResponse::FileDescriptorResponse(files) => {
                let files = files.file_descriptor_proto.into_iter();
                Told::Files(
                    files.map(|file| FileDescriptorProto::decode(&file[..]).unwrap()).collect(),
                )
            }
            _ => Told::Nothing,
        }
    }};
}

async fn ask(version: &str, channel: Channel, asked: Asked) -> Told {
    match version {
        "v1" => ask!(v1, channel, asked),
        _ => ask!(v1alpha, channel, asked),
    }
}

async fn each_version() -> (Gateway, Vec<(&'static str, Channel)>) {
    let gateway = Gateway::spawn().await;
    let channel = Endpoint::from_shared(gateway.url.clone()).unwrap().connect_lazy();
    (gateway, vec![("v1", channel.clone()), ("v1alpha", channel)])
}

#[tokio::test]
async fn both_versions_list_the_services() {
    let (_gateway, versions) = each_version().await;
    for (version, channel) in versions {
        let Told::Services(services) = ask(version, channel, Asked::Services).await else {
            panic!("{version} lists nothing");
        };
        for service in [SERVICES[0], SERVICES[1], "grpc.health.v1.Health"] {
            assert!(services.contains(service), "{version}: {services:?}");
        }
    }
}

#[tokio::test]
async fn both_versions_serve_every_file_of_the_descriptor_set_as_it_was_compiled() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap();
    let (_gateway, versions) = each_version().await;
    let wanted: BTreeMap<_, _> = set.file.iter().map(|file| (file.name(), file)).collect();
    for name in [
        "douyin/settlement/v1/settlement.proto",
        "douyin/settlement/v1/operator.proto",
        "google/api/annotations.proto",
        "google/api/field_behavior.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
        "google/protobuf/any.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/timestamp.proto",
    ] {
        let wanted = wanted.get(name).unwrap_or_else(|| panic!("{name} is not compiled in"));
        for (version, channel) in versions.clone() {
            let Told::Files(files) = ask(version, channel, Asked::File(name)).await else {
                panic!("{version} has no {name}");
            };
            assert!(files.iter().any(|file| file == *wanted), "{version} serves another {name}");
        }
    }
}

/// What grpcurl looks up by name when it prints an error.
#[tokio::test]
async fn both_versions_find_every_detail_of_an_error_by_its_name() {
    let details = [
        "google.rpc.Status",
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
        "google.rpc.BadRequest",
        "google.rpc.RequestInfo",
        "google.rpc.QuotaFailure",
        "google.rpc.PreconditionFailure",
        "google.rpc.ResourceInfo",
        "google.rpc.LocalizedMessage",
        "google.rpc.Help",
        "douyin.settlement.v1.DouyinError",
        "douyin.settlement.v1.SettlementFailure",
    ];
    let (_gateway, versions) = each_version().await;
    for (version, channel) in versions {
        for name in details {
            let Told::Files(files) = ask(version, channel.clone(), Asked::FileOf(name)).await
            else {
                panic!("{version} does not know {name}");
            };
            let short = name.rsplit('.').next().unwrap();
            let has = |file: &FileDescriptorProto| {
                name.strip_suffix(short) == Some(&format!("{}.", file.package()))
                    && file.message_type.iter().any(|message| message.name() == short)
            };
            assert!(files.iter().any(has), "{version} answers {name} with other files");
        }
    }
}

/// For clients without reflection, and for proxies that transcode.
#[test]
fn the_descriptor_set_is_printed_and_lies_beside_the_executable() {
    let executable = env!("CARGO_BIN_EXE_settlement-gateway");
    let printed = Command::new(executable).arg("descriptor").output().unwrap();
    assert!(printed.status.success());
    assert!(printed.stdout == DESCRIPTOR_SET);
    let products = Path::new(executable).parent().unwrap();
    assert!(std::fs::read(products.join("settlement.binpb")).unwrap() == DESCRIPTOR_SET);
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/service-config.json");
    let product = std::fs::read(products.join("service-config.json")).unwrap();
    assert!(product == std::fs::read(published).unwrap());
}

/// Tools and people read from it what they must give, before the gateway tells them.
#[test]
fn every_field_of_a_request_says_whether_it_is_required() {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let behavior = pool.get_extension_by_name("google.api.field_behavior").unwrap();
    let mut requests: Vec<MessageDescriptor> = Vec::new();
    for service in pool.services().filter(|it| SERVICES.contains(&it.full_name())) {
        requests.extend(service.methods().map(|method| method.input()));
    }
    let mut fields = 0;
    while let Some(message) = requests.pop() {
        for field in message.fields() {
            let options = field.options();
            let said = options.get_extension(&behavior);
            let Value::List(said) = said.as_ref() else { panic!("{}", field.full_name()) };
            let said: Vec<_> = said.iter().map(|it| it.as_enum_number().unwrap()).collect();
            // OPTIONAL or REQUIRED, perhaps IMMUTABLE beside it.
            assert!(matches!(said[..], [1 | 2] | [1 | 2, 5]), "{}: {said:?}", field.full_name());
            fields += 1;
            if let Some(inner) = field.kind().as_message().filter(|it| it.package_name() == PACKAGE)
            {
                requests.push(inner.clone());
            }
        }
    }
    assert!(fields > 60, "{fields} fields");
}

/// The contract is the API reference: `buf lint` checks names, this the words.
#[test]
fn every_element_of_the_contract_is_commented() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap();
    let files = set.file.iter().filter(|file| file.package() == "douyin.settlement.v1");
    let counts = files.map(count_commented).collect::<Vec<_>>();
    assert!(counts[0] > 100 && counts[1] > 40, "{counts:?} elements");
}

/// How many elements a file has; each must have a comment.
fn count_commented(file: &FileDescriptorProto) -> usize {
    let source = file.source_code_info.as_ref().expect("comments are compiled in");
    let commented: BTreeSet<&[i32]> = source
        .location
        .iter()
        .filter(|place| place.leading_comments().trim().len() > 10)
        .map(|place| place.path.as_slice())
        .collect();
    let mut elements = Vec::new();
    for (i, message) in (0..).zip(&file.message_type) {
        elements_of(message, &[4, i], message.name(), &mut elements);
    }
    for (i, list) in (0..).zip(&file.enum_type) {
        elements.push((vec![5, i], list.name().to_owned()));
        for (j, value) in (0..).zip(&list.value) {
            elements.push((vec![5, i, 2, j], value.name().to_owned()));
        }
    }
    for (i, service) in (0..).zip(&file.service) {
        elements.push((vec![6, i], service.name().to_owned()));
        for (j, method) in (0..).zip(&service.method) {
            elements.push((vec![6, i, 2, j], method.name().to_owned()));
        }
    }
    let bare = elements.iter().filter(|(path, _)| !commented.contains(path.as_slice()));
    assert_eq!(bare.map(|(_, name)| name).collect::<Vec<_>>(), Vec::<&String>::new());
    elements.len()
}

/// A message, its fields, its oneofs and what is nested in it. A `oneof` that `optional` makes up
/// has no place in the file.
fn elements_of(
    message: &DescriptorProto,
    path: &[i32],
    name: &str,
    elements: &mut Vec<(Vec<i32>, String)>,
) {
    let at = |part: [i32; 2]| [path, &part].concat();
    elements.push((path.to_vec(), name.to_owned()));
    for (i, field) in (0..).zip(&message.field) {
        elements.push((at([2, i]), format!("{name}.{}", field.name())));
    }
    for (i, oneof) in (0..).zip(&message.oneof_decl) {
        if !oneof.name().starts_with('_') {
            elements.push((at([8, i]), format!("{name}.{}", oneof.name())));
        }
    }
    for (i, nested) in (0..).zip(&message.nested_type) {
        elements_of(nested, &at([3, i]), &format!("{name}.{}", nested.name()), elements);
    }
}
