//! The binary: everything is in the library.

/// Indexing allocates on all threads at once, which takes glibc's allocator a tenth longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    spanloom::cli::main()
}
