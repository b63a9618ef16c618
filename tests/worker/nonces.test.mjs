// Which signed requests are answered once.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { HOST, KEY, bearer, bindings, message, send } from "./client.mjs";
import { start } from "./server.mjs";
import { pause } from "./tools.mjs";

let worker;
before(async () => {
  const config = bindings.SEALEDGE_CONFIG.replace("auth:\n", "auth:\n  nonces: changes\n");
  assert.notEqual(config, bindings.SEALEDGE_CONFIG);
  worker = await start({ bindings: { ...bindings, SEALEDGE_CONFIG: config } });
});
after(() => worker?.stop());

async function twice(method, path, body = "") {
  const sign = await signer(KEY);
  const headers = await sign(method, `http://${HOST}${path}`, body);
  const first = await send(worker, method, path, headers, body);
  assert.equal(first.status, 200, first.text);
  return send(worker, method, path, headers, body);
}

test("with `nonces: changes` those that change nothing are answered again, and no others", async () => {
  const imported = JSON.stringify({ key: Buffer.alloc(32, 7).toString("base64"), cipher: "AES256" });
  for (const [method, path, body] of [
    ["PUT", "/v1/key/create/once"],
    ["PUT", "/v1/key/import/twice", imported],
    ["DELETE", "/v1/key/delete/once"],
  ]) {
    const again = await twice(method, path, body);
    assert.equal(again.status, 400, path);
    assert.match(message(again), /received before/);
  }
  for (const [method, path, body] of [
    ["POST", "/v1/key/generate/twice", "{}"],
    ["GET", "/v1/key/describe/twice"],
    ["GET", "/v1/key/list/*"],
    ["GET", "/v1/identity/self/describe"],
  ]) {
    assert.equal((await twice(method, path, body)).status, 200, path);
  }
  assert.equal((await send(worker, "GET", "/v1/key/describe/once", bearer)).status, 404);
});

test("a window that is made longer lets nothing in again", { timeout: 30_000 }, async () => {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-nonces-"));
  const within = (window) => {
    const config = bindings.SEALEDGE_CONFIG.replace("auth:\n", `auth:\n  window: ${window}\n`);
    return start({ bindings: { ...bindings, SEALEDGE_CONFIG: config }, persist });
  };
  const sign = await signer(KEY);
  const path = "/v1/key/create/window";
  const headers = await sign("PUT", `http://${HOST}${path}`);
  let worker = await within("2s");
  try {
    assert.equal((await send(worker, "PUT", path, headers)).status, 200);
    assert.equal((await send(worker, "DELETE", "/v1/key/delete/window", bearer)).status, 200);
    await worker.stop();
    await pause(5000);
    worker = await within("300s");
    const other = await sign("PUT", `http://${HOST}/v1/key/create/other`);
    assert.equal((await send(worker, "PUT", "/v1/key/create/other", other)).status, 200);
    const again = await send(worker, "PUT", path, headers);
    assert.equal(again.status, 400);
    assert.match(message(again), /too old/);
  } finally {
    await worker.stop();
    await rm(persist, { recursive: true });
  }
});
