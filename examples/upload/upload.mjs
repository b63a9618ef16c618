// A Worker that keeps uploads encrypted: PUT /NAME stores one in R2, GET /NAME gives it back.
//
// Each upload has a data encryption key (DEK) of its own from sealedge. The bucket has the upload encrypted by it, and
// the DEK as sealedge has encrypted it: whoever reads the bucket has neither, and what was altered or moved to another
// name does not open.
import { signer } from "../webcrypto/sign.mjs";

// WebCrypto takes an upload as a whole: it is in memory up to three times at once, and an isolate has 128 MB for all
// the requests that it is at.
const LIMIT = 8 * 1024 * 1024;

// What is stored is a nonce, and then what AES-256-GCM makes, with its tag at the end: in bytes,
const NONCE = 12;
const OVERHEAD = NONCE + 16;

export default {
  async fetch(request, env) {
    try {
      const name = nameOf(request);
      if (request.method === "PUT") return await put(name, request.body, env);
      if (request.method === "GET") return await get(name, env);
      throw new Refusal(405, "an upload is PUT, and GET gives it back");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return Response.json({ message: error.message }, { status: error.status });
    }
  },
};

async function put(name, body, env) {
  const upload = await read(body);
  const dek = await ask(env, "generate", { context: base64(name) });
  const key = await imported(dek.plaintext, "encrypt");
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE));
  const ciphertext = await crypto.subtle.encrypt(cipher(name, nonce), key, upload);
  await env.BUCKET.put(name, new Blob([nonce, ciphertext]), { customMetadata: { dek: dek.ciphertext } });
  return new Response(null, { status: 201 });
}

async function get(name, env) {
  const object = await env.BUCKET.get(name);
  if (!object) throw new Refusal(404, "there is no upload of this name");
  const ciphertext = object.customMetadata?.dek;
  if (!ciphertext || object.size < OVERHEAD || object.size > LIMIT + OVERHEAD) {
    throw new Refusal(502, "what the bucket has under this name was not put there by this Worker");
  }
  const dek = await ask(env, "decrypt", { ciphertext, context: base64(name) });
  const key = await imported(dek.plaintext, "decrypt");
  const stored = new Uint8Array(await object.arrayBuffer());
  const [nonce, rest] = [stored.subarray(0, NONCE), stored.subarray(NONCE)];
  const upload = await crypto.subtle.decrypt(cipher(name, nonce), key, rest).catch(() => {
    throw new Refusal(502, "what the bucket has under this name was altered");
  });
  return new Response(upload, { headers: { "content-type": "application/octet-stream" } });
}

// What the client is told.
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function nameOf(request) {
  const path = new URL(request.url).pathname.slice(1);
  try {
    const name = decodeURIComponent(path);
    // R2 takes no longer ones.
    if (name && utf8(name).length <= 1024) return name;
  } catch {
    // Not percent-encoded UTF-8.
  }
  throw new Refusal(400, "the path is / and the name of an upload, of 1 to 1024 bytes");
}

async function read(body) {
  const chunks = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > LIMIT) throw new Refusal(413, `an upload has at most ${LIMIT} bytes`);
    chunks.push(chunk);
  }
  return new Blob(chunks).arrayBuffer();
}

// Asks sealedge to generate or decrypt a DEK. The context is the upload's name, so that the DEK opens for no other.
let sign;
async function ask(env, what, message) {
  const url = `https://${env.SEALEDGE_AUTHORITY}/v1/key/${what}/${env.SEALEDGE_KEY}`;
  const body = JSON.stringify(message);
  sign ??= await signer(env.SEALEDGE_API_KEY);
  const headers = await sign("POST", url, body);
  let status, answer;
  try {
    const response = await env.SEALEDGE.fetch(url, { method: "POST", headers, body });
    status = response.status;
    answer = await response.json();
  } catch (error) {
    throw new Refusal(502, `the key service is away: ${error.message}`);
  }
  if (status !== 200) throw new Refusal(502, `the key service answers ${status}: ${answer.message}`);
  return answer;
}

const imported = (dek, use) =>
  crypto.subtle.importKey("raw", Uint8Array.from(atob(dek), (char) => char.charCodeAt(0)), "AES-GCM", false, [use]);
const cipher = (name, iv) => ({ name: "AES-GCM", iv, additionalData: utf8(name) });
const utf8 = (text) => new TextEncoder().encode(text);
const base64 = (text) => btoa(String.fromCharCode(...utf8(text)));
