//! Implements the interface `spin:variables`, with which a component reads its variables.

use crate::manifest::is_name;
use crate::state::State;
use crate::variables::ComponentVariables;
use wasmtime::component::{ComponentType, Linker, Lower};

#[derive(Clone, Debug, ComponentType, Lower, PartialEq, Eq)]
#[component(variant)]
enum Error {
    /// No variable can have this name.
    #[component(name = "invalid-name")]
    InvalidName(String),
    /// The component has no such variable.
    #[component(name = "undefined")]
    Undefined(String),
    /// Part of the interface; does not occur here.
    #[component(name = "provider")]
    #[expect(dead_code, reason = "a value cannot get lost after the start")]
    Provider(String),
    /// Part of the interface; does not occur here.
    #[component(name = "other")]
    #[expect(dead_code, reason = "a template cannot go bad after the start")]
    Other(String),
}

/// Makes `spin:variables` available to components.
///
/// # Errors
/// When the linker has it already.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance("spin:variables/variables@3.0.0")?
        .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
            let value = accessor.with(|mut access| get(&access.data_mut().variables, &name));
            Box::pin(async move { Ok((value,)) })
        })
}

fn get(variables: &ComponentVariables, name: &str) -> Result<String, Error> {
    if !is_name(name) {
        return Err(Error::InvalidName(format!(
            "{name:?}: must be lower_snake_case"
        )));
    }
    variables.get(name).map(str::to_owned).ok_or_else(|| {
        let component = variables.component();
        Error::Undefined(format!("no variable for {component:?}.{name:?}"))
    })
}
