//! The JavaScript of the documentation, run by Node against a server.

use std::path::Path;
use std::process::Command;

use sealedge_tests::client::{for_admin, recorded};
use sealedge_tests::node;
use sealedge_tests::server::Server;
use serde_json::Value;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/webcrypto/sign.mjs"
);

/// Asks for a DEK, and has it decrypted.
const SCRIPT: &str = r#"
const { signer } = await import(process.argv[1]);
const sign = await signer(process.env.KES_API_KEY);
const call = async (method, path, body = "") => {
  const url = process.env.SERVER + path;
  const headers = await sign(method, url, body);
  const response = await fetch(url, { method, body, headers });
  if (!response.ok) throw new Error(await response.text());
  return response.text();
};
await call("POST", "/v1/key/create/my-app-1");
const context = btoa("app");
const dek = JSON.parse(await call("post", "/v1/key/generate/my-app-1?from=node", JSON.stringify({ context })));
const body = JSON.stringify({ ciphertext: dek.ciphertext, context });
const opened = JSON.parse(await call("POST", "/v1/key/decrypt/my-app-1", new TextEncoder().encode(body)));
const refused = await signer(process.env.KES_API_KEY.slice(0, -1)).catch((error) => error.message);
console.log(JSON.stringify([dek.plaintext, opened.plaintext, refused]));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_signs_requests() {
    let Some(node) = node::program() else { return };
    let server = Server::start(Path::new(crate::SEALEDGE), "", &for_admin("mem: {}"));
    let url = format!(
        "https://{}",
        server.address.replace("127.0.0.1", "localhost")
    );
    let ended = Command::new(node)
        .args(["--input-type=module", "--eval", SCRIPT, "--", EXAMPLE])
        .env("KES_API_KEY", &*recorded("admin").to_text())
        .env("SERVER", url)
        .env(
            "NODE_EXTRA_CA_CERTS",
            server.folder.path().join("server.cert"),
        )
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let [dek, opened, refused]: [Value; 3] = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(dek, opened);
    assert_eq!(dek.as_str().map(str::len), Some(44), "{dek}");
    assert!(
        refused.as_str().unwrap().contains("an API key is"),
        "{refused}"
    );
}

#[test]
fn the_documentation_has_the_example() {
    let document = include_str!("../../../docs/authentication.md");
    let example = std::fs::read_to_string(EXAMPLE).unwrap();
    assert!(document.contains(&example));
    assert!(example.lines().count() < 45);
}
