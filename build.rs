//! Refreshes `include/sideloop.h` from `src/ffi`, and gives the shared library its name and linker flags.

#[path = "build/header.rs"]
mod header;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The number in the shared library's name: it changes when a program linked to the old one could not run on the new one. A
/// test in src/ffi/status.rs finds it in SL_ABI_VERSION.
const SONAME_VERSION: &str = "0";

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build/header.rs");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=include/sideloop.h");
    println!("cargo::rerun-if-env-changed=CI");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    refresh_header(&root);
    println!("cargo::rustc-env=SIDELOOP_SONAME_VERSION={SONAME_VERSION}");
    link_flags();
}

/// Writes the header where it is not what the sources say. Under CI it is left alone, so that the test can find it stale.
fn refresh_header(root: &Path) {
    let path = root.join("include/sideloop.h");
    let fresh = match header::generate(root) {
        Ok(fresh) => fresh,
        Err(error) => panic!("include/sideloop.h cannot be made: {error}"),
    };
    let stale = fs::read_to_string(&path).map_or(true, |old| old != fresh);
    if stale && env::var_os("CI").is_none() {
        // The sources may be read-only (a registry's copy); the committed header then serves.
        if let Err(error) = fs::write(&path, fresh) {
            println!("cargo::warning=include/sideloop.h is not refreshed: {error}");
        }
    }
}

fn link_flags() {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd" | "netbsd" | "dragonfly" | "android") => {
            let soname = format!("libsideloop.so.{SONAME_VERSION}");
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
            // Its threads outlive a dlclose, so its code must too.
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
            alias("libsideloop.so", &soname);
        }
        Ok("macos" | "ios") => {
            let name = format!("libsideloop.{SONAME_VERSION}.dylib");
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/{name}");
            alias("libsideloop.dylib", &name);
        }
        _ => {}
    }
}

/// Puts a link with the name that programs look for at run time beside the library, so that they run from cargo's target
/// folder. OUT_DIR is <profile>/build/<package>/out.
fn alias(library: &str, name: &str) {
    #[cfg(unix)]
    if let Some(profile) = env::var_os("OUT_DIR").map(PathBuf::from).as_deref().and_then(|out| out.ancestors().nth(3)) {
        let link = profile.join(name);
        if fs::symlink_metadata(&link).is_err() {
            let _ = std::os::unix::fs::symlink(library, &link);
        }
    }
    #[cfg(not(unix))]
    let _ = (library, name);
}
