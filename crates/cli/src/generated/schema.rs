//! What the descriptors say: services, methods, comments, rights, names as they are typed.

use std::sync::LazyLock;

use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor,
    MethodDescriptor, ServiceDescriptor, Value,
};

/// The options that the protos of this project declare.
const RIGHT: &str = "pentad.options.v1.right";
const AMOUNT: &str = "pentad.options.v1.amount";

/// The services of a descriptor set, as the command line shows them.
#[derive(Clone, Debug)]
pub struct Schema {
    pool: DescriptorPool,
}

impl Schema {
    /// The protos of this version of Pentad.
    pub fn own() -> &'static Self {
        static OWN: LazyLock<Schema> = LazyLock::new(|| {
            Schema::of(pentad_api::FILE_DESCRIPTOR_SET).expect("made by the same build")
        });
        &OWN
    }

    /// Reads an encoded descriptor set.
    ///
    /// # Errors
    /// When it is none, or lacks what it refers to.
    pub fn of(descriptors: &[u8]) -> Result<Self, prost_reflect::DescriptorError> {
        Ok(Self { pool: DescriptorPool::decode(descriptors)? })
    }

    /// The services in the order of their names.
    pub fn services(&self) -> Vec<ServiceDescriptor> {
        let mut services: Vec<_> = self.pool.services().collect();
        services.sort_by_key(service_name);
        services
    }

    /// The right that the caller of a method must hold, as it is written in the proto.
    pub fn right(&self, method: &MethodDescriptor) -> Option<String> {
        let option = self.option(RIGHT)?;
        let options = method.options();
        let kind = option.kind();
        let rights = kind.as_enum()?;
        match options.get_extension(&option).as_ref() {
            Value::EnumNumber(number) => {
                Some(value_name(rights, rights.get_value(*number)?.name()))
            }
            _ => None,
        }
    }

    /// Does the field count units of 10^-8 coins?
    pub fn is_amount(&self, field: &FieldDescriptor) -> bool {
        let Some(option) = self.option(AMOUNT) else { return false };
        field.options().get_extension(&option).as_bool() == Some(true)
    }

    fn option(&self, name: &str) -> Option<ExtensionDescriptor> {
        self.pool.get_extension_by_name(name)
    }
}

/// `ChainService` is typed `chain`.
pub fn service_name(service: &ServiceDescriptor) -> String {
    let name = service.name();
    kebab(name.strip_suffix("Service").unwrap_or(name))
}

/// `GetBlock` is typed `get-block`.
pub fn method_name(method: &MethodDescriptor) -> String {
    kebab(method.name())
}

/// `TRANSACTION_STATE_MEMPOOL` of `TransactionState` is typed and shown as `mempool`.
pub fn value_name(of: &EnumDescriptor, value: &str) -> String {
    let prefix = format!("{}_", kebab(of.name()).replace('-', "_").to_uppercase());
    value.strip_prefix(&prefix).unwrap_or(value).to_lowercase().replace('_', "-")
}

/// `GetUtxos` → `get-utxos`, `static_key` → `static-key`.
pub fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        match letter {
            '_' => out.push('-'),
            upper if upper.is_ascii_uppercase() => {
                if index > 0 {
                    out.push('-');
                }
                out.push(upper.to_ascii_lowercase());
            }
            other => out.push(other),
        }
    }
    out
}

/// The comment before a service, method or field, lines joined to paragraphs.
pub fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let proto: &FileDescriptorProto = file.file_descriptor_proto();
    let locations = proto.source_code_info.iter().flat_map(|info| &info.location);
    let text = locations
        .filter(|location| location.path == path)
        .find_map(|location| location.leading_comments.as_deref())
        .unwrap_or_default();
    let paragraphs = text.trim().split("\n\n");
    let joined = paragraphs.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    joined.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(service: &str, name: &str) -> MethodDescriptor {
        let mut services = Schema::own().services().into_iter();
        let service = services.find(|found| service_name(found) == service).expect(service);
        service.methods().find(|found| method_name(found) == name).expect(name)
    }

    #[test]
    fn names_are_kebab_case_without_service() {
        let names: Vec<String> = Schema::own().services().iter().map(service_name).collect();
        for name in ["chain", "submit", "event", "keystore", "wallet", "miner", "peer"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
        let mut distinct = names.clone();
        distinct.dedup();
        assert_eq!(names, distinct, "two services are typed alike");
        assert_eq!(method("chain", "get-utxos").name(), "GetUtxos");
        assert_eq!(kebab("final_height"), "final-height");
    }

    #[test]
    fn comments_and_options_are_those_of_the_protos() {
        let get_block = method("chain", "get-block");
        assert_eq!(
            comment(&get_block.parent_file(), get_block.path()),
            "A block by hash or by height on the main chain."
        );
        assert_eq!(Schema::own().right(&get_block).as_deref(), Some("read"));
        let balance = method("chain", "get-balance").output();
        let field = |name| balance.get_field_by_name(name).expect(name);
        assert!(Schema::own().is_amount(&field("confirmed")));
        let info = method("chain", "get-info").output();
        assert!(!Schema::own().is_amount(&info.get_field_by_name("height").expect("height")));
    }
}
