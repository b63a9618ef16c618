// Whatever the keys are kept in, clients see the same. The cases of a store are run in their order, for one store.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { bearer, bindings, message, send } from "./client.mjs";
import { openbao, skip } from "./openbao.mjs";
import { start } from "./server.mjs";
import { eachOf } from "./tools.mjs";

// How many names a page has, of the protocol.
const PAGE = 1024;

// A Worker with a key store, and that store started anew under it.
class Store {
  constructor(settings, close) {
    this.settings = settings;
    this.close = close;
  }
  async start() {
    this.worker = await start(this.settings);
  }
  async restart() {
    await this.worker.stop();
    await this.start();
  }
  async stop() {
    await this.worker?.stop();
    await this.close();
  }

  // What is answered: the status, and the message if there is one.
  async ask(method, path, body = "") {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const answer = await send(this.worker, method, `/v1/key/${path}`, bearer, text);
    return answer.status === 200 ? [200] : [answer.status, message(answer)];
  }
  // What is in an answer that has to be one.
  async get(method, path, body = {}) {
    const answer = await send(this.worker, method, `/v1/key/${path}`, bearer, JSON.stringify(body));
    assert.equal(answer.status, 200, `${path}: ${answer.text}`);
    return JSON.parse(answer.text);
  }
  create(name) {
    return this.ask("PUT", `create/${name}`);
  }
  delete(name) {
    return this.ask("DELETE", `delete/${name}`);
  }
  async createAll(names) {
    await eachOf(names, async (name) => assert.deepEqual(await this.create(name), [200], name));
  }
  // The pages of a listing.
  async pages(pattern) {
    const pages = [];
    for (let next = pattern; next !== undefined; ) {
      assert.ok(pages.length < 20, "it never ends");
      const { names, continue_at } = await this.get("GET", `list/${next}`);
      pages.push(names ?? []);
      next = continue_at || undefined;
    }
    return pages;
  }
  async names(pattern = "*") {
    return (await this.pages(pattern)).flat();
  }
}

const ABSENT = [404, "key does not exist"];
const EXISTS = [400, "key already exists"];

// Asks at once; how many of the answers are a success, for the others are this one.
async function race(times, otherwise, ask) {
  const answers = await Promise.all(Array.from({ length: times }, (_, at) => ask(at)));
  const others = answers.filter(([status]) => status !== 200);
  for (const other of others) assert.deepEqual(other, otherwise);
  return answers.flatMap(([status], at) => (status === 200 ? [at] : []));
}

const LETTERS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

// Names with every letter where it may be, from the shortest to the longest.
function namesAtTheirLimits() {
  const long = "x".repeat(78);
  const forms = [(it) => it, (it) => `a${it}`, (it) => `${it}a`, (it) => `a${it}a`, (it) => `a${long}${it}`,
    (it) => `a${it}${long}`, (it) => `${it}${long}a`];
  const names = forms.flatMap((form) => [...LETTERS].map(form));
  return [...new Set(names.filter((name) => !/^-|-$|^_$/.test(name)))];
}

const cases = {
  "a key lives from its creation to its end": async (store) => {
    assert.deepEqual(await store.names(), []);
    const absent = async () => {
      for (const [method, path] of [["GET", "describe"], ["PUT", "generate"], ["DELETE", "delete"]]) {
        assert.deepEqual(await store.ask(method, `${path}/one`), ABSENT, path);
      }
    };
    await absent();
    assert.deepEqual(await store.create("one"), [200]);
    assert.deepEqual(await store.create("one"), EXISTS);
    assert.deepEqual(await store.names(), ["one"]);
    const { plaintext, ciphertext } = await store.get("PUT", "generate/one");
    assert.equal((await store.get("PUT", "decrypt/one", { ciphertext })).plaintext, plaintext);
    assert.deepEqual(await store.delete("one"), [200]);
    await absent();
    assert.deepEqual(await store.names(), []);
    // Another key takes the name, and does not open what the first one sealed.
    assert.deepEqual(await store.create("one"), [200]);
    const refused = await store.ask("PUT", "decrypt/one", { ciphertext });
    assert.deepEqual(refused, [400, "decryption failed: ciphertext is not authentic"]);
    assert.deepEqual(await store.delete("one"), [200]);
  },

  "of racing creates one succeeds": async (store) => {
    const created = await race(50, EXISTS, () => store.create("race"));
    assert.equal(created.length, 1);
    assert.deepEqual(await store.ask("PUT", "generate/race"), [200]);
    assert.deepEqual(await store.delete("race"), [200]);
  },

  "of racing imports one succeeds, and its key is there": async (store) => {
    const keys = Array.from({ length: 20 }, (_, at) => ({ key: Buffer.alloc(32, at + 1).toString("base64") }));
    const imported = (name, at) => store.ask("PUT", `import/${name}`, { ...keys[at], cipher: "AES256" });
    const [winner, ...others] = await race(keys.length, EXISTS, (at) => imported("race", at));
    assert.ok(winner !== undefined && others.length === 0);
    const { plaintext, ciphertext } = await store.get("PUT", "generate/race");
    assert.deepEqual(await store.delete("race"), [200]);
    assert.deepEqual(await imported("race", winner), [200]);
    assert.equal((await store.get("PUT", "decrypt/race", { ciphertext })).plaintext, plaintext);
    assert.deepEqual(await store.delete("race"), [200]);
  },

  "racing creates and deletes take turns": async (store) => {
    for (let round = 0; round < 10; round += 1) {
      const [created, deleted] = await Promise.all([
        race(10, EXISTS, () => store.create("turns")),
        race(10, ABSENT, () => store.delete("turns")),
      ]);
      const isThere = (await store.ask("GET", "describe/turns"))[0] === 200;
      if (store.isExact) assert.equal(created.length - deleted.length, isThere ? 1 : 0);
      assert.ok(created.length > 0);
      assert.deepEqual(await store.names(), isThere ? ["turns"] : []);
      if (isThere) assert.deepEqual(await store.delete("turns"), [200]);
    }
  },

  "names of every letter and length are told apart, and listed in the order of bytes": async (store) => {
    const names = namesAtTheirLimits();
    assert.ok(names.length > 400 && names.some((name) => name.length === 80));
    await store.createAll(names);
    assert.deepEqual(await store.names(), names.toSorted());
    // In another case it is another key.
    const { ciphertext } = await store.get("PUT", "generate/A");
    assert.equal((await store.ask("PUT", "decrypt/a", { ciphertext }))[0], 400);
    assert.deepEqual(await store.delete("a"), [200]);
    assert.deepEqual(await store.ask("PUT", "decrypt/A", { ciphertext }), [200]);
    assert.deepEqual(await store.names(), names.filter((name) => name !== "a").toSorted());
    await eachOf(names.filter((name) => name !== "a"), async (name) => {
      assert.deepEqual(await store.delete(name), [200], name);
    });
    assert.deepEqual(await store.names(), []);
  },

  "many keys are listed in pages, by their prefixes": async (store) => {
    // Some with `-` or `_` right behind the prefix, and some that only look like it.
    const listed = Array.from({ length: 2 * PAGE + 52 }, (_, at) => `app${["-", "_", ""][at % 3]}${at}`).toSorted();
    await store.createAll([...listed, "aaa", "ap", "apq", "APP-1", "zzz"]);
    for (const pattern of ["app*", "app"]) {
      const pages = await store.pages(pattern);
      assert.deepEqual(pages.map((page) => page.length), [PAGE, PAGE, 52]);
      assert.deepEqual(pages.flat(), listed);
    }
    for (const prefix of ["app-1", "app_", "app", "ap", "z", "other", ""]) {
      const all = [...listed, "aaa", "ap", "apq", "APP-1", "zzz"].toSorted();
      assert.deepEqual(await store.names(`${prefix}*`), all.filter((name) => name.startsWith(prefix)), prefix);
    }
  },

  "what is there throughout is listed once, whatever comes and goes": async (store) => {
    const standing = (await store.names("app*")).toSorted();
    let isListed = false;
    const goes = async (part) => {
      let turns = 0;
      for (; !isListed; turns += 1) {
        // Before, between and behind those that stay.
        const name = `app${["-", "_", "", "z"][turns % 4]}${turns % 40}-${part}`;
        assert.deepEqual(await store.create(name), [200], name);
        assert.deepEqual(await store.delete(name), [200], name);
      }
      return turns;
    };
    const comeAndGo = Promise.all([0, 1, 2, 3].map(goes));
    try {
      for (let walk = 0; walk < 12; walk += 1) {
        const names = await store.names("app*");
        assert.deepEqual(names, [...new Set(names)].toSorted());
        const stand = new Set(standing);
        assert.deepEqual(names.filter((name) => stand.has(name)), standing);
        assert.ok(names.every((name) => stand.has(name) || /-[0-3]$/.test(name)));
      }
    } finally {
      isListed = true;
    }
    assert.ok((await comeAndGo).every((turns) => turns > 0));
    assert.deepEqual(await store.names("app*"), standing);
  },

  "a restart changes nothing": async (store) => {
    const names = await store.names();
    assert.ok(names.length > 2 * PAGE);
    const { plaintext, ciphertext } = await store.get("PUT", "generate/zzz");
    await store.restart();
    assert.deepEqual(await store.names(), names);
    assert.equal((await store.get("PUT", "decrypt/zzz", { ciphertext })).plaintext, plaintext);
    assert.deepEqual(await store.create("zzz"), EXISTS);
  },
};

// `open` gives a store of its own, without any key.
function conforms(name, options, open) {
  describe(name, options, () => {
    let store;
    before(async () => {
      store = await open();
      await store.start();
    });
    after(() => store?.stop());
    for (const [what, case_] of Object.entries(cases)) test(what, { timeout: 60_000 }, () => case_(store));
    test("nothing was lost meanwhile", () => {
      assert.doesNotMatch(store.worker.log(), /has stopped|a request was lost|"error: /);
    });
  });
}

conforms("keys in Durable Objects", {}, async () => {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-worker-"));
  const store = new Store({ bindings, persist }, () => rm(persist, { recursive: true }));
  // Each create and each delete is one step of one object.
  store.isExact = true;
  return store;
});

conforms("keys in an OpenBao", { skip }, async () => {
  const bao = await openbao();
  return new Store({ bindings: bao.bindings() }, bao.stop);
});
