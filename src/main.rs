//! The `lifeboat` command.

use std::process::ExitCode;

/// Most of what a proxied request costs us beside the kernel is allocation; the system's allocator made it 15 % slower (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lifeboat::cli::main()
}
