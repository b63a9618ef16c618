// Requests that no well-meaning client sends: each is refused, leaves nothing behind, and harms nobody else.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { HOST, answered, apiKey, bearer, bindings, identityOf, message, send, unharmed } from "./client.mjs";
import { start } from "./server.mjs";
import { eachOf, pause, root } from "./tools.mjs";

const MIB = 1 << 20;
const CREATE = "/v1/key/create/good";
const ENCRYPT = "/v1/key/encrypt/good";
const table = async (name) => {
  const lines = await readFile(join(root, "tests", name), "utf8");
  return lines.trim().split("\n").map((line) => JSON.parse(line));
};
const app = { authorization: `Bearer ${apiKey("app")}` };

let worker;
before(async () => {
  const policy = `policy:
  my-app:
    allow: [/v1/key/create/my-app*]
    deny: [/v1/key/create/my-app-secret*]
    identities: [${identityOf("app")}]
api: {/v1/key/hmac: {timeout: 300ms}}
`;
  worker = await start({ bindings: { ...bindings, SEALEDGE_CONFIG: bindings.SEALEDGE_CONFIG + policy } });
  await create("good");
});
after(() => worker.stop());

const ask = (...request) => send(worker, ...request);
const stored = async () => JSON.parse((await ask("GET", "/v1/key/list/*", bearer)).text).names;
async function create(name) {
  assert.equal((await ask("PUT", `/v1/key/create/${name}`, bearer)).status, 200);
}

function refused(answer, what) {
  assert.deepEqual([answer.status, answer.text], [400, '{"message":"invalid request body"}'], what);
}

// Whether a path comes to the Worker as it is written. Where there are dot segments, it has those that they come to.
const comes = (path) => new URL(path, "http://localhost").pathname === path.split("?")[0];
// The runtime knows no others, nor small letters.
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];

test("bad input is refused as the table says", async () => {
  const cases = (await table("bad-input.jsonl")).filter(({ path, method }) => comes(path) && METHODS.includes(method));
  assert.ok(cases.length > 400);
  await unharmed(worker, async () => {
    let count = 0;
    await eachOf(cases, async (case_) => {
      const { path, body, status } = case_;
      const methods = case_.method === "PUT" && status !== 405 ? ["PUT", "POST"] : [case_.method];
      for (const method of methods) {
        const answer = await ask(method, path, bearer, body);
        const what = `${method} ${JSON.stringify(case_)}: ${answer.status} ${answer.text}`;
        assert.equal(answer.status, status, what);
        if (case_.message) assert.deepEqual(JSON.parse(answer.text), { message: case_.message }, what);
        else if (method === "HEAD") assert.equal(answer.text, "", what);
        else if (status === 404) assert.equal(answer.text, "404 page not found\n", what);
        else assert.equal(status, 200, what);
        count += 1;
      }
    });
    assert.deepEqual(await stored(), ["good"]);
    return count + 1;
  });
});

test("no way of writing a path gets past the policy", async () => {
  for (const name of ["other", "my-app-secret", "my-app"]) await create(name);
  const elsewhere = {
    "x-http-method-override": "DELETE",
    "x-original-url": "/v1/key/delete/other",
    "x-rewrite-url": "/v1/key/create/secret",
  };
  const attempts = await table("attempts.jsonl");
  assert.ok(attempts.length >= 60);
  await unharmed(worker, async () => {
    for (const { path, status, resolved = status } of attempts) {
      for (const method of ["GET", "DELETE", "HEAD", "PATCH"]) {
        const answer = await ask(method, path, app);
        assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${path}: ${answer.status} ${answer.text}`);
      }
      const answer = await ask("PUT", path, { ...app, ...elsewhere });
      assert.equal(answer.status, resolved, `${path}: ${answer.text}`);
      const again = await ask("POST", path, app);
      assert.equal(again.status, resolved === 200 ? 400 : resolved, `${path}: ${again.text}`);
    }
    return attempts.length * 6;
  });
  const names = ["good", "my-app", "my-app-2", "my-app-3", "my-app-4", "my-app-5", "my-app-secret", "other"];
  assert.deepEqual(await stored(), names);
});

// A body for `encrypt` of exactly this length.
function bodyOf(length) {
  const plaintext = Buffer.alloc(length >> 1, 1).toString("base64");
  return JSON.stringify({ plaintext }).padEnd(length);
}

// A request of which only so much is sent at first.
async function begin(path, framing, body) {
  const { hostname, port } = new URL(worker.url);
  const socket = connect(port, hostname);
  let text = "";
  socket.on("data", (data) => (text += data));
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(`PUT ${path} HTTP/1.1\r\nhost: ${HOST}\r\nauthorization: ${bearer.authorization}\r\n${framing}\r\n\r\n`);
  socket.write(body);
  const closed = once(socket, "close");
  return {
    send: (rest) => socket.write(rest),
    end: () => socket.end(),
    reset: () => socket.resetAndDestroy(),
    // The status, or `undefined` if the connection ends without one.
    status: async () => {
      while (!/^HTTP\/1.1 \d+ /.test(text) && !socket.closed) await Promise.race([closed, once(socket, "data")]);
      const [, status] = /^HTTP\/1.1 (\d+) /.exec(text) ?? [];
      socket.destroy();
      return status && Number(status);
    },
  };
}

test("bodies may be as long as their route says", async () => {
  await unharmed(worker, async () => {
    for (const headers of [bearer, { ...bearer, "transfer-encoding": "chunked" }]) {
      for (const length of [16 << 10, (16 << 10) + 1, 100_000, MIB]) {
        const answer = await ask("PUT", ENCRYPT, headers, bodyOf(length));
        assert.equal(answer.status, 200, `${length}: ${answer.text}`);
      }
      refused(await ask("PUT", ENCRYPT, headers, bodyOf(MIB + 1)));
    }
    // What is longer is refused before its end. (The runtime ends the connection soon, and the answer could be lost to
    // who goes on.)
    const part = bodyOf(3 * MIB).slice(0, MIB + 20_000);
    for (const [framing, sent] of [
      [`content-length: ${3 * MIB}`, part],
      ["transfer-encoding: chunked", `${(3 * MIB).toString(16)}\r\n${part}`],
    ]) {
      assert.equal(await (await begin(ENCRYPT, framing, sent)).status(), 400);
    }
    // A route without a body reads none.
    const ignored = await ask("PUT", CREATE, bearer, bodyOf(50_000));
    assert.equal(message(ignored), "key already exists");
    return 13;
  });
});

test("bodies that are no text, and names without end, are refused", async () => {
  const nested = (open, close) => open.repeat(100_000) + close.repeat(100_000);
  const bodies = [
    Buffer.from('{"plaintext":"\xff"}', "latin1"),
    Buffer.alloc(4),
    Buffer.alloc(5000, 0xff),
    `{"plaintext":${nested("[", "]")}}`,
    nested('{"a":', "}"),
    "[".repeat(MIB),
  ];
  const lengths = [81, 1000, 10_000, 60_000];
  await unharmed(worker, async () => {
    for (const body of bodies) refused(await ask("PUT", ENCRYPT, bearer, body), body.slice(0, 20));
    for (const length of lengths) {
      const name = "a".repeat(length);
      const answer = await ask("PUT", `/v1/key/create/${name}`, bearer);
      const said = `key name '${name}' is empty, too long or contains invalid characters`;
      assert.deepEqual([answer.status, message(answer)], [400, said]);
    }
    return bodies.length + lengths.length;
  });
});

test("a body that is cut off does nothing", async () => {
  const body = JSON.stringify({ key: Buffer.alloc(32, 7).toString("base64"), cipher: "AES256" });
  // It would be a whole body, if the client had not promised more.
  const framings = [
    [`content-length: ${body.length + 1}`, body],
    ["content-length: 100000", body],
    ["transfer-encoding: chunked", `${body.length.toString(16)}\r\n${body}\r\n`],
  ];
  const known = await stored();
  for (const how of ["end", "reset"]) {
    for (const [framing, sent] of framings) {
      const request = await begin("/v1/key/import/new", framing, sent);
      await pause(50);
      request[how]();
      const status = await request.status();
      assert.ok([undefined, 400].includes(status), `${framing}: ${status}`);
    }
  }
  assert.deepEqual(await stored(), known);
  // What becomes of these is no trouble of the service.
  assert.doesNotMatch(worker.log(), /"message":/);
});

test("a hundred slow bodies are waited for, and hold up nobody", { timeout: 30_000 }, async () => {
  const slow = [];
  await unharmed(worker, async () => {
    for (let at = 0; at < 100; at += 1) {
      const body = bodyOf(at % 2 ? 1000 : 40_000);
      const sent = at % 4 < 2 ? body : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
      const framing = at % 4 < 2 ? `content-length: ${body.length}` : "transfer-encoding: chunked";
      const half = sent.length >> 1;
      slow.push([await begin(ENCRYPT, framing, sent.slice(0, half)), sent.slice(half)]);
    }
    for (let times = 0; times < 10; times += 1) {
      assert.equal((await ask("PUT", "/v1/key/generate/good", bearer)).status, 200);
      await pause(50);
    }
    const answers = await Promise.all(slow.map(([request, rest]) => (request.send(rest), request.status())));
    assert.deepEqual(new Set(answers), new Set([200]));
    return 110;
  });
});

test("a body that does not go on is not waited for longer than its route says", { timeout: 20_000 }, async () => {
  const request = await begin("/v1/key/hmac/good", "content-length: 900000", "{");
  assert.equal(await request.status(), 504);
});

// A DEK without the context that was on its way would open without one.
test("no body that does not come is taken for an empty one", { timeout: 40_000 }, async () => {
  const generate = "/v1/key/generate/good";
  const requests = [];
  for (const path of [ENCRYPT, generate]) {
    for (const [framing, sent] of [
      ["content-length: 26", ""],
      ["content-length: 26", '{"context"'],
      ["content-length: 20000", '{"context"'],
      ["transfer-encoding: chunked", ""],
      ["transfer-encoding: chunked", '5\r\n{"con\r\n'],
    ]) {
      requests.push([`${path} ${framing} ${sent}`, await begin(path, framing, sent)]);
    }
  }
  const cut = await begin(generate, "content-length: 26", '{"context"');
  await pause(50);
  cut.end();
  const status = await cut.status();
  assert.ok([undefined, 400].includes(status), `${status}`);
  for (const [what, request] of requests) assert.equal(await request.status(), 504, what);
});

test("one instance has answered all of this", async () => {
  assert.ok((await answered(worker)) > 1000);
  assert.doesNotMatch(worker.log(), /has stopped|a request was lost/);
});
