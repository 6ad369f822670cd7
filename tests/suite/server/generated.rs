//! What is generated from the code and kept in the repository. `UPDATE=1` writes it anew.

use std::path::Path;

fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a writable checkout");
        std::fs::write(&path, text).expect("a writable checkout");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{file} is not what the code says; run the tests with UPDATE=1 and commit it");
}

#[test]
fn the_description_of_our_api_is_current() {
    assert_current("openapi/lifeboat.json", &lifeboat::server::openapi_json());
}

#[test]
fn the_table_of_operations_is_current() {
    assert_current("openapi/operations.md", &lifeboat::server::operations_table());
}
