// The Worker with its keys in a Vault elsewhere, which is away for a while.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { bearer, logged, send } from "./client.mjs";
import { openbao, skip } from "./openbao.mjs";
import { start } from "./server.mjs";

test("keys of a Vault are served while it is away", { skip, timeout: 60_000 }, async () => {
  const bao = await openbao();
  const remote = await start({ bindings: bao.bindings("cache: {expiry: {any: 1s, unused: 1s, offline: 60s}}\n") });
  const ask = (method, path, body = "") => send(remote, method, path, bearer, body);
  try {
    assert.equal((await ask("POST", "/v1/key/create/a")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
    assert.equal((await ask("GET", "/v1/ready")).status, 200);
  } finally {
    await bao.stop();
  }
  try {
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/c", "{}")).status, 502);
    assert.equal((await ask("GET", "/v1/ready")).status, 504);
    await logged(remote, `the key store ${bao.url} is away`);
  } finally {
    await remote.stop();
  }
});

test("configured keys do not keep a Worker from starting while the Vault is away", { skip, timeout: 60_000 }, async () => {
  const bao = await openbao();
  const keys = "keys: [{name: first}]\n";
  const more = `cache: {expiry: {any: 1s, unused: 1s, offline: 60s}}\n${keys}`;
  const persist = await mkdtemp(join(tmpdir(), "sealedge-vault-"));
  const settings = { bindings: bao.bindings(more), persist };
  const generate = async (worker, name) => (await send(worker, "POST", `/v1/key/generate/${name}`, bearer, "{}")).status;
  let worker = await start(settings);
  try {
    // The first request has it created.
    assert.equal(await generate(worker, "first"), 200);
    await worker.stop();
    await bao.stop();
    worker = await start(settings);
    assert.equal((await send(worker, "GET", "/version")).status, 200);
    assert.equal(await generate(worker, "first"), 200);
    await logged(worker, "the configured keys can't be created");
  } finally {
    await worker.stop();
    await bao.stop();
    await rm(persist, { recursive: true });
  }
});

test("a delete whose time is over is in no memory, and in no gauge", { skip, timeout: 60_000 }, async () => {
  const bao = await openbao();
  const worker = await start({ bindings: bao.bindings("api: {/v1/key/delete: {timeout: 1s}}\n") });
  const ask = (method, path, body = "") => send(worker, method, path, bearer, body);
  try {
    assert.equal((await ask("POST", "/v1/key/create/a")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
    bao.pause();
    assert.equal((await ask("DELETE", "/v1/key/delete/a")).status, 504);
    await bao.stop();
    // Whether it is there is not to be found out any more.
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 502);
    const { text } = await ask("GET", "/v1/metrics");
    assert.match(text, /^kes_store_active 0$/m);
  } finally {
    await worker.stop();
    await bao.stop();
  }
});
