// What a fresh clone does by `wrangler dev`, and what `wrangler deploy` would upload: the real tool, on the project's
// own configuration, asked by curl.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { KEY, bearer, signed } from "./client.mjs";
import { freePort, installed, pause, root, until } from "./tools.mjs";

const { SEALEDGE_CURL } = process.env;
const PROGRAM = join(installed, "node_modules/wrangler/bin/wrangler.js");
const run = promisify(execFile);

let home;
before(async () => (home = await mkdtemp(join(tmpdir(), "sealedge-wrangler-"))));
after(() => rm(home, { recursive: true }));

// Whatever ends this process, nothing that it has started is left.
process.once("SIGTERM", () => process.exit(1));

// The tool, which calls nobody, asks nothing, and has no account. It has children, and all of them are its group.
class Wrangler {
  constructor(...options) {
    const env = {
      ...process.env,
      CI: "true",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
      WRANGLER_HIDE_BANNER: "true",
      WRANGLER_LOG_PATH: home,
      WRANGLER_SEND_ERROR_REPORTS: "false",
      WRANGLER_SEND_METRICS: "false",
      XDG_CONFIG_HOME: home,
    };
    const stdio = ["ignore", "pipe", "pipe"];
    this.child = spawn(process.execPath, [PROGRAM, ...options], { cwd: root, env, detached: true, stdio });
    this.output = "";
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (data) => (this.output += data));
    process.once("exit", () => this.signal("SIGKILL"));
  }

  // Until it is so far. Cargo comes first, and finds all built where the suite runs this.
  async until(is) {
    const { child } = this;
    const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
    try {
      await until(() => is(child) || hasEnded(), () => this.output, 60);
      assert.ok(is(child), this.output);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  // Whether there was anybody left to signal.
  signal(which) {
    try {
      return process.kill(-this.child.pid, which);
    } catch {
      return false;
    }
  }
  async stop() {
    this.signal("SIGTERM");
    for (let tries = 0; this.signal(0) && tries < 100; tries += 1) await pause(100);
    this.signal("SIGKILL");
  }
}

// `wrangler dev`, with what it keeps in this folder.
async function dev(state) {
  const port = await freePort();
  const server = new Wrangler("dev", "--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0",
    "--persist-to", state, "--show-interactive-dev-session=false");
  server.url = `http://127.0.0.1:${port}`;
  await server.until(() => server.output.includes("Ready on"));
  return server;
}

// By a real client: the status and the text.
async function curl(server, method, path, { who = ["-H", `Authorization: ${bearer.authorization}`], body } = {}) {
  const data = body ? ["--data", JSON.stringify(body)] : [];
  const options = ["-sS", "--max-time", "20", "-w", "\n%{http_code}", "-X", method, ...who, ...data];
  const { stdout } = await run(SEALEDGE_CURL, [...options, `${server.url}${path}`]);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), text: stdout.slice(0, end) };
}

const skip = SEALEDGE_CURL ? false : "SEALEDGE_CURL names no program";
test("a fresh clone serves by `wrangler dev`, and keeps its keys", { skip, timeout: 115_000 }, async () => {
  const state = join(home, "state");
  const get = async (server, ...request) => {
    const answer = await curl(server, ...request);
    assert.equal(answer.status, 200, `${request}: ${answer.text}`);
    return answer.text && JSON.parse(answer.text);
  };
  let made;
  const first = await dev(state);
  try {
    assert.equal((await curl(first, "GET", "/v1/status", { who: [] })).status, 401);
    for (const name of ["my-key", "other"]) await get(first, "POST", `/v1/key/create/${name}`);
    made = await get(first, "POST", "/v1/key/generate/my-key");
    const { ciphertext } = made;
    assert.deepEqual(await get(first, "POST", "/v1/key/decrypt/my-key", { body: { ciphertext } }), {
      plaintext: made.plaintext,
    });
    assert.deepEqual((await get(first, "GET", "/v1/key/list/*")).names, ["my-key", "other"]);
    await get(first, "DELETE", "/v1/key/delete/other");
    assert.equal((await curl(first, "POST", "/v1/key/generate/other")).status, 404);
    // And whoever signs is known.
    const me = await signed(first, "GET", "/v1/identity/self/describe");
    assert.deepEqual([me.status, JSON.parse(me.text).auth], [200, "signature"], me.text);
    assert.ok(!first.output.includes(KEY));
  } finally {
    await first.stop();
  }
  const second = await dev(state);
  try {
    assert.deepEqual((await get(second, "GET", "/v1/key/list/*")).names, ["my-key"]);
    const { ciphertext, plaintext } = made;
    assert.deepEqual(await get(second, "POST", "/v1/key/decrypt/my-key", { body: { ciphertext } }), { plaintext });
  } finally {
    await second.stop();
  }
});

test("what would be deployed is small, and has no development key", { timeout: 110_000 }, async () => {
  const out = join(home, "out");
  const deploy = new Wrangler("deploy", "--dry-run", "--outdir", out);
  await deploy.until(({ exitCode }) => exitCode === 0);
  const names = (await readdir(out)).filter((name) => /\.(js|mjs|wasm)$/.test(name));
  assert.ok(names.some((name) => name.endsWith(".wasm")) && names.length >= 2, names.join());
  const files = await Promise.all(names.map((name) => readFile(join(out, name))));
  const size = files.reduce((sum, file) => sum + gzipSync(file).length, 0);
  assert.ok(size > 100_000 && size < 1 << 20, `${size} bytes`);
  for (const file of files) assert.ok(!file.includes("kes:v1:AA") && !file.includes("SEALEDGE-IDENTITY-1QYR7"));
});
