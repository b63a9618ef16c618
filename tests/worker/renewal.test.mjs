// Keys in Durable Objects whose recipients change: nobody can seal them again from outside, so reads do.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { bearer, bindings, logged, send } from "./client.mjs";
import { start } from "./server.mjs";
import { root } from "./tools.mjs";

// Two nodes that the vectors of the page have.
const page = await readFile(join(root, "docs/sealed-record.md"), "utf8");
const vector = (what) => page.match(new RegExp(`^${what} = (.*)$`, "m"))[1];
const [alice, bob] = ["alice", "bob"].map((who) => ({
  identity: vector(`${who} identity`),
  recipient: vector(`${who} recipient`),
}));
const names = (nodes) => `[${nodes.map(({ recipient }) => recipient).join(", ")}]`;

// A Worker of one node, which seals for some.
function worker(persist, node, recipients, replace) {
  const seal = `seal:
  recipients: ${names(recipients)}
  signers: ${names([alice, bob])}
  unseal: {identity: "\${SEALEDGE_IDENTITY}"}
log:`;
  const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(/seal:[^]*?log:/, () => seal);
  return start({ bindings: { SEALEDGE_CONFIG, SEALEDGE_IDENTITY: node.identity }, persist, replace });
}

// One after the other over the same objects. Each is asked, and then stops.
async function stage(run) {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-renewal-"));
  const over = async (node, recipients, work, replace) => {
    const running = await worker(persist, node, recipients, replace);
    const ask = (method, path, body = "") => send(running, method, path, bearer, body);
    try {
      await work(ask, running);
    } finally {
      await running.stop();
    }
  };
  try {
    await run(over);
  } finally {
    await rm(persist, { recursive: true });
  }
}

const generate = async (ask, name) => (await ask("POST", `/v1/key/generate/${name}`, "{}")).status;
const stored = async (running, name) => {
  const objects = await running.miniflare.getDurableObjectNamespace("KEYS", "sealedge");
  const place = createHash("sha256").update(name).digest()[0] % 16;
  const value = await objects.get(objects.idFromName(`keys-${place}`)).read(name);
  return value && Buffer.from(value).toString();
};

test("a key that is read is sealed for the recipients of now, once", { timeout: 60_000 }, async () => {
  await stage(async (over) => {
    let made, record;
    await over(alice, [alice], async (ask, running) => {
      for (const name of ["read", "unread"]) assert.equal((await ask("POST", `/v1/key/create/${name}`)).status, 200);
      made = JSON.parse((await ask("POST", "/v1/key/generate/read", "{}")).text);
      record = await stored(running, "read");
      // It was as wanted.
      assert.equal(await generate(ask, "read"), 200);
      assert.equal(await stored(running, "read"), record);
    });
    await over(bob, [alice, bob], async (ask) => assert.equal(await generate(ask, "read"), 502));
    await over(alice, [alice, bob], async (ask, running) => {
      const racing = Array.from({ length: 20 }, () => generate(ask, "read"));
      assert.deepEqual(await Promise.all(racing), Array(20).fill(200));
      assert.ok(!running.log().includes("can't be sealed anew"), running.log());
      const renewed = await stored(running, "read");
      assert.notEqual(renewed, record);
      record = renewed;
    });
    // Once more it is read, and left as it is.
    await over(alice, [alice, bob], async (ask, running) => {
      assert.equal(await generate(ask, "read"), 200);
      assert.equal(await stored(running, "read"), record);
    });
    await over(bob, [bob], async (ask) => {
      const opened = await ask("POST", "/v1/key/decrypt/read", JSON.stringify({ ciphertext: made.ciphertext }));
      assert.equal(JSON.parse(opened.text).plaintext, made.plaintext);
      assert.equal(await generate(ask, "unread"), 502);
    });
    // From then on it is for bob alone.
    await over(alice, [alice], async (ask) => assert.equal(await generate(ask, "read"), 502));
  });
});

test("to describe all keys that a listing has seals them all anew", { timeout: 60_000 }, async () => {
  await stage(async (over) => {
    await over(alice, [alice], async (ask) => {
      for (let number = 0; number < 30; number += 1) {
        assert.equal((await ask("POST", `/v1/key/create/key-${number}`)).status, 200);
      }
    });
    let names;
    await over(alice, [alice, bob], async (ask) => {
      ({ names } = JSON.parse((await ask("GET", "/v1/key/list/*")).text));
      assert.equal(names.length, 30);
      for (const name of names) assert.equal((await ask("GET", `/v1/key/describe/${name}`)).status, 200);
    });
    await over(bob, [alice, bob], async (ask) => {
      for (const name of names) assert.equal(await generate(ask, name), 200, name);
    });
  });
});

test("a delete that races with renewals is the end of the key", { timeout: 60_000 }, async () => {
  await stage(async (over) => {
    const names = Array.from({ length: 30 }, (_, number) => `race-${number}`);
    await over(alice, [alice], async (ask) => {
      for (const name of names) assert.equal((await ask("POST", `/v1/key/create/${name}`)).status, 200);
    });
    await over(alice, [alice, bob], async (ask, running) => {
      const raced = names.flatMap((name, number) => {
        const reads = Array.from({ length: 3 }, () => generate(ask, name));
        const pause = new Promise((resolve) => setTimeout(resolve, number));
        const deleted = pause.then(() => ask("DELETE", `/v1/key/delete/${name}`)).then(({ status }) => status);
        return [...reads, deleted];
      });
      for (const status of await Promise.all(raced)) assert.ok([200, 404].includes(status), `${status}`);
      assert.deepEqual(JSON.parse((await ask("GET", "/v1/key/list/*")).text).names ?? [], []);
      for (const name of names) assert.equal(await stored(running, name), undefined);
    });
  });
});

test("a renewal that fails is in the log, and the read is answered", { timeout: 60_000 }, async () => {
  const entry = await readFile(join(root, "target/worker/entry.mjs"), "utf8");
  const method = "replace(name, old, value) {";
  assert.ok(entry.includes(method));
  const replace = { "entry.mjs": entry.replace(method, `${method} throw new Error("on purpose");`) };
  await stage(async (over) => {
    await over(alice, [alice], async (ask) => {
      assert.equal((await ask("POST", "/v1/key/create/a")).status, 200);
    });
    await over(alice, [alice, bob], async (ask, running) => {
      assert.equal(await generate(ask, "a"), 200);
      await logged(running, "'a' is not sealed as the configuration wants it, and can't be sealed anew");
    }, replace);
  });
});
