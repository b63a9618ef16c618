// The example of a Worker that keeps uploads encrypted, beside the service that is bound to it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { KEY, apiKey, bindings, identityOf } from "./client.mjs";
import { run, sealedge } from "./server.mjs";
import { root } from "./tools.mjs";

const examples = join(root, "examples");
const wrangler = await readFile(join(examples, "upload/wrangler.toml"), "utf8");
const set = (name) => wrangler.match(new RegExp(`^${name} = "(.*)"$`, "m"))[1];
const AUTHORITY = set("SEALEDGE_AUTHORITY");
const LIMIT = 8 << 20;

// The service, with what the example's README adds to its configuration: its Worker may do no more than that.
async function service() {
  const readme = await readFile(join(examples, "upload/README.md"), "utf8");
  const [, added] = readme.match(/```yaml\n([^]*?)```/);
  const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(/^auth:[^]*?(?=^keystore:)/m, () => added);
  return sealedge({ bindings: { ...bindings, SEALEDGE_CONFIG, UPLOAD_IDENTITY: identityOf("upload") } });
}

// The example as its wrangler.toml has it, or otherwise. All have the same bucket.
function example(name, { bound = "sealedge", ...variables } = {}) {
  const modules = ["upload/upload.mjs", "webcrypto/sign.mjs"];
  return {
    name,
    modulesRoot: examples,
    modules: modules.map((path) => ({ type: "ESModule", path: join(examples, path) })),
    compatibilityDate: set("compatibility_date"),
    r2Buckets: { BUCKET: set("bucket_name") },
    serviceBindings: { SEALEDGE: bound },
    bindings: {
      SEALEDGE_AUTHORITY: AUTHORITY,
      SEALEDGE_KEY: set("SEALEDGE_KEY"),
      SEALEDGE_API_KEY: apiKey("upload"),
      ...variables,
    },
  };
}

// Where nobody listens.
const NOWHERE = { external: { address: "127.0.0.1:1", http: {} } };

let running, bucket;
before(async () => {
  running = await run([
    example("upload"),
    example("misled", { SEALEDGE_AUTHORITY: "elsewhere.example.com" }),
    example("stranger", { SEALEDGE_API_KEY: apiKey("stranger") }),
    example("without", { SEALEDGE_API_KEY: KEY, SEALEDGE_KEY: "missing" }),
    example("another", { SEALEDGE_API_KEY: KEY, SEALEDGE_KEY: "another" }),
    example("alone", { bound: NOWHERE }),
    example("unconfigured", { bound: "blank" }),
    await service(),
    { ...(await sealedge({})), name: "blank" },
  ]);
  bucket = await running.miniflare.getR2Bucket("BUCKET", "upload");
});
after(() => running?.stop());

async function ask(method, path, body, name = "upload") {
  const worker = await running.miniflare.getWorker(name);
  const answer = await worker.fetch(`https://uploads.example.com${path}`, { method, body, duplex: "half" });
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
}

async function refused(status, reason, ...request) {
  const answer = await ask(...request);
  assert.equal(answer.status, status, `${request}: ${answer.body}`);
  assert.match(JSON.parse(answer.body).message, reason);
}

async function stored(name) {
  const object = await bucket.get(name);
  return { bytes: Buffer.from(await object.arrayBuffer()), customMetadata: object.customMetadata };
}

const store = (name, bytes, customMetadata) => bucket.put(name, new Uint8Array(bytes), { customMetadata });

test("what was uploaded comes back, and is not what the bucket has", async () => {
  const letter = Buffer.from("a letter that nobody else is to read");
  for (const [path, name, upload] of [
    ["/letter", "letter", letter],
    ["/a%20folder/%C3%BC", "a folder/\u00fc", letter],
    ["/empty", "empty", Buffer.alloc(0)],
    ["/largest", "largest", randomBytes(LIMIT)],
  ]) {
    assert.equal((await ask("PUT", path, upload)).status, 201, path);
    const back = await ask("GET", path);
    assert.equal(back.status, 200, `${back.body}`);
    assert.ok(back.body.equals(upload), path);
    const { bytes } = await stored(name);
    assert.equal(bytes.length, upload.length + 28);
    if (upload.length) assert.ok(!bytes.includes(upload.subarray(0, 16)), path);
  }
  const before = await stored("letter");
  await ask("PUT", "/letter", letter);
  const after = await stored("letter");
  assert.ok(!after.bytes.equals(before.bytes));
  assert.notEqual(after.customMetadata.dek, before.customMetadata.dek);
});

test("what is not there, or too large, or no upload, is refused", async () => {
  await refused(404, /no upload/, "GET", "/nothing");
  await refused(413, /8388608 bytes/, "PUT", "/large", Buffer.alloc(LIMIT + 1));
  assert.equal(await bucket.head("large"), null);
  for (const path of ["/", "/%ff", `/${"a".repeat(1025)}`]) await refused(400, /1 to 1024 bytes/, "PUT", path, "a");
  await refused(405, /PUT/, "DELETE", "/letter");
});

test("what was altered, moved or put there by others does not open", async () => {
  await ask("PUT", "/mine", "what is mine");
  await ask("PUT", "/yours", "what is yours");
  const [mine, yours] = [await stored("mine"), await stored("yours")];

  for (const at of [0, 12, mine.bytes.length - 1]) {
    const altered = Buffer.from(mine.bytes);
    altered[at] ^= 1;
    await store("mine", altered, mine.customMetadata);
    await refused(502, /was altered/, "GET", "/mine");
  }
  await store("mine", yours.bytes, mine.customMetadata);
  await refused(502, /was altered/, "GET", "/mine");
  await store("mine", yours.bytes, yours.customMetadata);
  await refused(502, /answers 400: decryption failed: ciphertext is not authentic/, "GET", "/mine");
  for (const [bytes, customMetadata] of [
    [mine.bytes, {}],
    [mine.bytes.subarray(0, 27), mine.customMetadata],
    [Buffer.alloc(LIMIT + 29), mine.customMetadata],
  ]) {
    await store("mine", bytes, customMetadata);
    await refused(502, /not put there by this Worker/, "GET", "/mine");
  }
  await store("mine", mine.bytes, mine.customMetadata);
  assert.equal(`${(await ask("GET", "/mine")).body}`, "what is mine");
});

test("without the service, its key or a right to it nothing is stored or opened", async () => {
  const sign = await signer(KEY);
  const url = `https://${AUTHORITY}/v1/key/create/another`;
  const admin = await running.miniflare.getWorker("sealedge");
  const created = await admin.fetch(url, { method: "PUT", headers: await sign("PUT", url) });
  assert.equal(created.status, 200, await created.text());

  await ask("PUT", "/safe", "what is safe");
  for (const [name, putting, getting = putting] of [
    ["alone", /^the key service is away: /],
    ["unconfigured", /answers 500: the service is not configured/],
    ["misled", /answers 400: .*elsewhere\.example\.com/],
    ["stranger", /answers 403: not authorized: insufficient permissions/],
    ["without", /answers 404: key does not exist/],
    ["another", null, /answers 400: decryption failed: ciphertext is not authentic/],
  ]) {
    if (putting) await refused(502, putting, "PUT", `/${name}`, "what is lost", name);
    if (putting) assert.equal(await bucket.head(name), null);
    await refused(502, getting, "GET", "/safe", undefined, name);
  }
  assert.equal(`${(await ask("GET", "/safe")).body}`, "what is safe");
});
