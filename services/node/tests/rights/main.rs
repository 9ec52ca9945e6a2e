//! Attacks 52 and 53: every method of a node, called by every kind of caller over real listeners.
//! `docs/rights.md` is what this test sees; `UPDATE_RIGHTS=1` writes it.

mod callers;
mod page;

use std::collections::BTreeMap;

use pentad_trust::{Right, Role};
use prost_reflect::DescriptorPool;

use callers::{Answer, Callers};

/// Methods beside those of the protos.
const OPEN: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Every method by its path, and the right that its proto asks for.
fn methods() -> BTreeMap<String, Right> {
    let pool = DescriptorPool::decode(pentad_api::FILE_DESCRIPTOR_SET).expect("built in");
    let services = pool.services().filter(|service| service.full_name().starts_with("pentad."));
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let path = |service: &str, name: &str| format!("/{service}/{name}");
    let own = methods.map(|it| path(it.parent_service().full_name(), it.name()));
    let all = own.chain(OPEN.map(str::to_owned));
    let right = |path: &String| pentad_api::rights::required(path).expect("declared");
    all.map(|path| (path.clone(), right(&path))).collect()
}

/// What each caller gets of each method, by the caller's name.
type Matrix = BTreeMap<String, BTreeMap<String, Answer>>;

async fn walk(callers: &Callers, methods: &BTreeMap<String, Right>) -> Matrix {
    let mut matrix = Matrix::new();
    for (name, connection) in callers.all() {
        let mut answers = BTreeMap::new();
        for path in methods.keys() {
            answers.insert(path.clone(), callers::ask(connection, path).await);
        }
        matrix.insert(name.clone(), answers);
    }
    matrix
}

/// What a caller has to get, from the rules alone.
fn expected(caller: &str, path: &str, right: Right, is_production: bool) -> Answer {
    let denied = |code, reason: &str| Answer::Refused(code, reason.to_owned());
    if ["another authority", "an expired certificate"].contains(&caller) {
        return Answer::NoHandshake;
    }
    let is_off = right == Right::Admin || path.starts_with("/grpc.reflection.");
    if is_production && is_off {
        return denied(tonic::Code::PermissionDenied, "NO_DECLARED_RIGHT");
    }
    if right == Right::Open {
        return Answer::Served;
    }
    let role = caller.strip_prefix("role ").map(|name| name.parse::<Role>().expect("a role"));
    let token = caller.strip_prefix("token ").map(|name| name.parse::<Right>().expect("a right"));
    match (caller, role, token) {
        ("the cookie", ..) => Answer::Served,
        ("nothing", ..) => denied(tonic::Code::Unauthenticated, "NO_CREDENTIAL"),
        ("another organisation", ..) => denied(tonic::Code::PermissionDenied, "OTHER_ORGANISATION"),
        (_, Some(role), _) if role.may_call(path, right) => Answer::Served,
        (_, Some(_), _) => denied(tonic::Code::PermissionDenied, "WRONG_ROLE"),
        (_, _, Some(own)) if own == right => Answer::Served,
        (_, _, Some(_)) => denied(tonic::Code::PermissionDenied, "MISSING_RIGHT"),
        _ => denied(tonic::Code::Unauthenticated, "WRONG_CREDENTIAL"),
    }
}

fn hold(matrix: &Matrix, methods: &BTreeMap<String, Right>, is_production: bool) {
    for (caller, answers) in matrix {
        for (path, answer) in answers {
            let wanted = expected(caller, path, methods[path], is_production);
            assert_eq!(*answer, wanted, "{caller} calls {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_by_every_kind_of_caller() {
    let methods = methods();
    let callers = Callers::start("development").await;
    let matrix = walk(&callers, &methods).await;
    hold(&matrix, &methods, false);
    page::hold(&matrix, &methods);
    callers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_53_in_production_reflection_and_admin_methods_are_off() {
    let methods = methods();
    let callers = Callers::start("production").await;
    let matrix = walk(&callers, &methods).await;
    hold(&matrix, &methods, true);
    callers.stop().await;
}
