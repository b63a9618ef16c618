// How the Worker starts, and starts again.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { HOST, KEY, bearer, bindings, logged, message, send } from "./client.mjs";
import { start } from "./server.mjs";

test("keys and nonces are there after a restart", async () => {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-worker-"));
  try {
    const sign = await signer(KEY);
    const headers = await sign("PUT", `http://${HOST}/v1/key/create/kept`);
    const first = await start({ bindings, persist });
    assert.equal((await send(first, "PUT", "/v1/key/create/kept", headers, "")).status, 200);
    const made = await send(first, "POST", "/v1/key/generate/kept", bearer, "{}");
    await first.stop();

    const second = await start({ bindings, persist });
    const { plaintext, ciphertext } = JSON.parse(made.text);
    const opened = await send(second, "POST", "/v1/key/decrypt/kept", bearer, JSON.stringify({ ciphertext }));
    assert.equal(JSON.parse(opened.text).plaintext, plaintext);
    const replayed = await send(second, "PUT", "/v1/key/create/kept", headers, "");
    assert.match(message(replayed), /received before/);
    await second.stop();
  } finally {
    await rm(persist, { recursive: true });
  }
});

// A Worker that can't serve, and what its log has to say.
async function refuses(settings, lines) {
  const broken = await start(settings);
  try {
    for (const path of ["/version", "/v1/key/generate/a"]) {
      const answer = await send(broken, "GET", path);
      assert.deepEqual([answer.status, message(answer)], [500, "the service is not configured: its log says why"]);
    }
    for (const line of lines) await logged(broken, line);
  } finally {
    await broken.stop();
  }
}

test("without its secrets a Worker serves nothing, and says which are missing", async () => {
  await refuses({ bindings: {} }, ["write `sealedge.yml` and deploy again", "npx wrangler secret put SEALEDGE_CONFIG"]);
  const { SEALEDGE_CONFIG } = bindings;
  await refuses({ bindings: { SEALEDGE_CONFIG } }, ["seal.unseal.identity: the variable `SEALEDGE_IDENTITY` is not set"]);
});

test("the configuration is part of the Worker, unless a variable has another", async () => {
  const { SEALEDGE_CONFIG, SEALEDGE_IDENTITY } = bindings;
  const replace = { "configuration.mjs": `export default ${JSON.stringify(SEALEDGE_CONFIG)};` };
  const worker = await start({ bindings: { SEALEDGE_IDENTITY }, replace });
  try {
    const me = await send(worker, "GET", "/v1/identity/self/describe", bearer);
    assert.equal(me.status, 200, me.text);
  } finally {
    await worker.stop();
  }
  replace["configuration.mjs"] = 'export default "version: v2";';
  await refuses({ bindings: { SEALEDGE_IDENTITY }, replace }, ["sealedge.yml: line 1: version:"]);
  const both = await start({ bindings, replace });
  assert.equal((await send(both, "GET", "/v1/identity/self/describe", bearer)).status, 200);
  await logged(both, "sealedge.yml is part of this Worker and not used");
  await both.stop();
});

test("what the platform does not have is refused, by the field", async () => {
  const wrong = `
version: v1
admin: {identity: disabled}
tls: {key: server.key, cert: server.cert, auth: on}
keystore: {fs: {path: keys}}
seal: {recipients: [], unseal: {file: node.identity}}
`;
  await refuses({ bindings: { SEALEDGE_CONFIG: wrong } }, [
    "tls.key", "tls.cert", "tls.ca", "auth.authorities", "keystore.fs", "seal.recipients", "seal.unseal.file",
  ]);
  const unsealed = "version: v1\nadmin: {identity: disabled}\nauth: {signatures: off}\n"
    + "keystore: {cloudflare: {durableobjects: {}}}\n";
  await refuses({ bindings: { SEALEDGE_CONFIG: unsealed } }, ["seal: keys that the platform keeps have to be sealed"]);
});

test("without its Durable Objects a Worker says so", async () => {
  await refuses({ bindings, objects: {} }, ["no Durable Objects are bound to `KEYS`"]);
});
