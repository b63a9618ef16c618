// Sealed copies of keys that a Vault elsewhere has, for when it is away.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";

import { bearer, logged, send } from "./client.mjs";
import { openbao, skip } from "./openbao.mjs";
import { start } from "./server.mjs";
import { root } from "./tools.mjs";

const EXPIRY = "{any: 1s, unused: 1s, offline: 60s}";
const options = { skip, timeout: 60_000 };

// A Worker that is stopped and started again over the same Durable Objects, and the Vault that it uses.
async function stage(expiry, run) {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-copies-"));
  const bao = await openbao();
  const bindings = bao.bindings(`cache: {expiry: ${expiry}}\n`);
  let worker;
  const restart = async () => {
    await worker?.stop();
    worker = await start({ bindings, persist });
    return worker;
  };
  const ask = (method, path, body = "") => send(worker, method, path, bearer, body);
  const generate = async (name) => (await ask("POST", `/v1/key/generate/${name}`, "{}")).status;
  try {
    await restart();
    await run({ ask, bao, generate, persist, restart });
  } finally {
    await worker?.stop();
    await bao.stop();
    await rm(persist, { recursive: true });
  }
}

const object = (name) => `copies-${createHash("sha256").update(name).digest()[0] % 16}`;

// The object that has the copy of this name, as the service itself calls it.
async function copies(worker, name) {
  const objects = await worker.miniflare.getDurableObjectNamespace("COPIES", "sealedge");
  return objects.get(objects.idFromName(object(name)));
}

async function offlineHits(ask) {
  const { text } = await ask("GET", "/v1/metrics");
  return Number(text.match(/^kes_cache_offline_hits (\d+)$/m)[1]);
}

test("a key that was read once is served by a Worker that starts while the Vault is away", options, async () => {
  await stage(EXPIRY, async ({ ask, bao, generate, restart }) => {
    assert.equal((await ask("POST", "/v1/key/create/a")).status, 200);
    assert.equal((await ask("POST", "/v1/key/create/b")).status, 200);
    const made = JSON.parse((await ask("POST", "/v1/key/generate/a", "{}")).text);
    await bao.stop();
    await wait(1100);
    await restart();
    const opened = await ask("POST", "/v1/key/decrypt/a", JSON.stringify({ ciphertext: made.ciphertext }));
    assert.equal(JSON.parse(opened.text).plaintext, made.plaintext);
    // It was created, and never read.
    assert.equal(await generate("b"), 502);
    assert.equal(await generate("a"), 200);
    assert.equal(await offlineHits(ask), 2);
  });
});

test("a copy that was made moments ago saves a read", options, async () => {
  await stage("{any: 30s, unused: 30s, offline: 60s}", async ({ ask, bao, generate, restart }) => {
    await ask("POST", "/v1/key/create/a");
    assert.equal(await generate("a"), 200);
    await bao.stop();
    await restart();
    assert.equal(await generate("a"), 200);
    // It was not even seen that there is no Vault.
    assert.equal(await offlineHits(ask), 0);
  });
});

test("no copy is served that is older than `offline`", options, async () => {
  await stage("{any: 1s, unused: 1s, offline: 6s}", async ({ ask, bao, generate, restart }) => {
    await ask("POST", "/v1/key/create/a");
    const begun = Date.now();
    assert.equal(await generate("a"), 200);
    const read = Date.now();
    await bao.stop();
    await wait(1100);
    await restart();
    const served = await generate("a");
    // A slow machine proves nothing.
    if (Date.now() < begun + 6000) assert.equal(served, 200);
    await wait(read + 6000 - Date.now());
    assert.equal(await generate("a"), 502);
    await restart();
    assert.equal(await generate("a"), 502);
  });
});

test("a key that was deleted is in no copy", options, async () => {
  await stage(EXPIRY, async ({ ask, bao, generate, restart }) => {
    for (const name of ["gone", "stays"]) {
      await ask("POST", `/v1/key/create/${name}`);
      assert.equal(await generate(name), 200);
    }
    assert.equal((await ask("DELETE", "/v1/key/delete/gone")).status, 200);
    assert.equal(await generate("gone"), 404);
    await ask("POST", "/v1/key/create/new");
    assert.equal((await ask("DELETE", "/v1/key/delete/new")).status, 200);
    await ask("POST", "/v1/key/create/new");
    assert.equal(await generate("new"), 200);
    await bao.stop();
    await wait(1100);
    await restart();
    assert.equal(await generate("gone"), 502);
    assert.equal(await generate("stays"), 200);
    // One that was created anew after a delete has a copy again.
    assert.equal(await generate("new"), 200);
  });
});

test("of reads and a delete that race, none leaves a copy", options, async () => {
  await stage(EXPIRY, async ({ ask, bao, generate, restart }) => {
    const names = Array.from({ length: 20 }, (_, number) => `race-${number}`);
    await Promise.all(names.map((name) => ask("POST", `/v1/key/create/${name}`)));
    const raced = names.map(async (name, number) => {
      const reads = [generate(name), generate(name)];
      await wait(number);
      const deleted = await ask("DELETE", `/v1/key/delete/${name}`);
      assert.equal(deleted.status, 200);
      assert.equal(await generate(name), 404);
      await Promise.all(reads);
    });
    await Promise.all(raced);
    await ask("POST", "/v1/key/create/stays");
    assert.equal(await generate("stays"), 200);
    await bao.stop();
    const worker = await restart();
    assert.notEqual((await (await copies(worker, "stays")).read("stays"))[1], null);
    for (const name of names) {
      assert.equal((await (await copies(worker, name)).read(name))[1], null, name);
    }
  });
});

test("what is kept is sealed, and opens under its own name and unaltered alone", options, async () => {
  await stage(EXPIRY, async ({ ask, bao, generate, persist, restart }) => {
    const secret = createHash("sha256").update("a key that would be noticed").digest();
    const key = secret.toString("base64");
    const known = JSON.stringify({ key, cipher: "AES256" });
    assert.equal((await ask("POST", "/v1/key/import/known", known)).status, 200);
    assert.equal(await generate("known"), 200);
    await bao.stop();
    await wait(1100);
    const worker = await restart();
    assert.equal(await generate("known"), 200);

    const files = (await readdir(persist, { recursive: true, withFileTypes: true })).filter((it) => it.isFile());
    const state = Buffer.concat(await Promise.all(files.map((it) => readFile(join(it.parentPath ?? it.path, it.name)))));
    assert.ok(state.includes("sealedge-cache:v1:"));
    assert.ok(!state.includes(secret));
    // Base64 of it, wherever it begins in a longer text.
    for (const before of [0, 1, 2]) {
      const text = Buffer.concat([Buffer.alloc(before), secret]).toString("base64").slice(4, 40);
      assert.ok(!state.includes(text));
    }

    const put = async (name, copy) => {
      const at = await copies(worker, name);
      const [ticket] = await at.read(name);
      await at.keep(name, copy, ticket, Date.now(), Date.now() + 60_000);
      assert.deepEqual(Buffer.from((await at.read(name))[1]), Buffer.from(copy));
    };
    const copy = new Uint8Array((await (await copies(worker, "known")).read("known"))[1]);
    await put("moved", copy);
    assert.equal(await generate("moved"), 502);
    await logged(worker, "what was kept as a copy of 'moved' does not open");
    for (const at of [0, 20, copy.length - 1]) {
      const altered = copy.slice();
      altered[at] ^= 1;
      await put("known", altered);
      assert.equal(await generate("known"), 502, `${at}`);
    }
    await put("known", copy);
    assert.equal(await generate("known"), 200);
  });
});

test("a copy that was read earlier does not replace one that was read later", options, async () => {
  await stage(EXPIRY, async ({ restart }) => {
    const at = await copies(await restart(), "two");
    const [ticket] = await at.read("two");
    const until = Date.now() + 60_000;
    for (const [copy, read] of [[1, 5000], [2, 4000], [3, 5001], [4, 5000]]) {
      await at.keep("two", Uint8Array.of(copy), ticket, read, until);
    }
    assert.deepEqual([...new Uint8Array((await at.read("two"))[1])], [3]);
  });
});

test("a delete is refused while its objects fail, and reads go on", options, async () => {
  const bao = await openbao();
  const built = await readFile(join(root, "target/worker/entry.mjs"), "utf8");
  let entry = built;
  for (const method of ["bury(name, until) {", "keep(name, copy, ticket, read, until) {"]) {
    assert.ok(entry.includes(method));
    entry = entry.replace(method, `${method} throw new Error("on purpose");`);
  }
  const worker = await start({ bindings: bao.bindings(`cache: {expiry: ${EXPIRY}}\n`), replace: { "entry.mjs": entry } });
  try {
    const ask = (method, path, body = "") => send(worker, method, path, bearer, body);
    await ask("POST", "/v1/key/create/a");
    assert.equal((await ask("DELETE", "/v1/key/delete/a")).status, 502);
    await logged(worker, "failed to delete key: copies of it can't be dropped, so it is kept");
    for (const name of ["a", "a"]) {
      assert.equal((await ask("POST", `/v1/key/generate/${name}`, "{}")).status, 200);
      await wait(1100);
    }
    await logged(worker, "copies of keys can't be kept");
    assert.equal(worker.log().split("copies of keys can't be kept").length, 2);
  } finally {
    await worker.stop();
    await bao.stop();
  }
});
