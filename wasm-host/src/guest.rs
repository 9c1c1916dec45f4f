//! Compiles the component and provides everything that it imports, so that it is ready to be instantiated.
//!
//! A component may use the clocks, random numbers and standard output of WASI, the types of `wasi:http`, `spin:redis` and
//! `spin:variables`. A component that imports anything else does not start: to link files and sockets, which no component of
//! this repository uses, would take as long to compile as the rest of this program.

use crate::allowed_hosts::AllowedHosts;
use crate::imports;
use crate::manifest::Manifest;
use crate::state::State;
use crate::variables::{ComponentVariables, Variables};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::p3::bindings::http::types;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::p3::{WasiHttp, WasiHttpView};

/// A component that can be instantiated.
pub(crate) struct Guest {
    component: ServicePre<State>,
    variables: Arc<ComponentVariables>,
    allowed_hosts: Arc<AllowedHosts>,
}

impl Guest {
    /// Compiles the manifest's component. Slow without a cached result.
    ///
    /// # Errors
    /// When a template in the manifest cannot be filled, or the file at `source` is missing, is not a component, has an
    /// unknown import, or does not export an HTTP handler.
    pub(crate) fn load(
        manifest: &Manifest,
        source: &Path,
        variables: &Variables,
        instances: u32,
    ) -> Result<Self> {
        let component = &manifest.component;
        let allowed_hosts = AllowedHosts::resolve(&component.allowed_outbound_hosts, variables)?;
        let variables =
            ComponentVariables::resolve(&manifest.component_id, &component.variables, variables)?;
        if !source.is_file() {
            let hint = match component.build_command() {
                Some(command) => format!("run `{command}`"),
                None => "build it first".to_owned(),
            };
            bail!("the component {} is missing: {hint}", source.display());
        }
        Ok(Self {
            component: compile(source, instances)
                .map_err(anyhow::Error::from)
                .with_context(|| format!("{} cannot be served", source.display()))?,
            variables: Arc::new(variables),
            allowed_hosts: Arc::new(allowed_hosts),
        })
    }

    /// # Errors
    /// When the limit of instances is reached, or the instance fails to start.
    pub(crate) async fn instantiate(&self) -> wasmtime::Result<(Store<State>, Service)> {
        let state = State::new(Arc::clone(&self.variables), Arc::clone(&self.allowed_hosts));
        let mut store = Store::new(self.component.engine(), state);
        let service = self.component.instantiate_async(&mut store).await?;
        Ok((store, service))
    }
}

fn compile(source: &Path, instances: u32) -> wasmtime::Result<ServicePre<State>> {
    use wasmtime::error::Context as _;

    let engine = engine(instances)?;
    let component = Component::from_file(&engine, source)?;
    let mut linker = Linker::new(&engine);
    add_wasi_to_linker(&mut linker)?;
    types::add_to_linker::<_, WasiHttp>(&mut linker, State::http)?;
    imports::redis::add_to_linker(&mut linker)?;
    imports::variables::add_to_linker(&mut linker)?;
    let component = linker
        .instantiate_pre(&component)
        .context("wasm-host does not provide one of its imports")?;
    ServicePre::new(component).context("it does not export wasi:http/handler@0.3.0")
}

/// What the standard library and spin-sdk import.
fn add_wasi_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker_proxy_interfaces_async(linker)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    p3::cli::add_to_linker(linker)?;
    p3::clocks::add_to_linker(linker)
}

/// An engine with room for `instances` instances, with the limits of Spin's.
///
/// The room is address space: 4 GiB for each linear memory, so that accesses need no bounds checks; physical memory is
/// used only when touched. If that much address space is not available, every instance allocates its own memory, which
/// is slower.
fn engine(instances: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_stacks(instances)
        .total_tables(instances.saturating_mul(2))
        // A component is several core modules: one with the memory, and small ones that connect it to its imports.
        .total_core_instances(instances.saturating_mul(4))
        .max_tables_per_module(2)
        .table_elements(100_000)
        .max_core_instance_size(10 << 20)
        .max_component_instance_size(10 << 20)
        // This many touched bytes of an instance are zeroed for the next one instead of being returned to the system.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(512 << 10);
    let mut config = Config::new();
    config.wasm_component_model_async(true).cache(cache());
    Engine::new(config.clone().allocation_strategy(pool)).or_else(|error| {
        tracing::debug!("cannot reserve memory for instances, which will be slower: {error:#}");
        Engine::new(&config)
    })
}

/// The cache of compiled components, beside this program, as in Spin. Without it, every start compiles.
fn cache() -> Option<Cache> {
    let program = std::env::current_exe().ok()?;
    let mut config = CacheConfig::new();
    config.with_directory(program.with_file_name("wasm-host-cache"));
    let cache = Cache::new(config);
    cache
        .inspect_err(|error| tracing::debug!("compiled components are not cached: {error:#}"))
        .ok()
}
