// Sends one signed request, and prints the answer:
//
//   KES_API_KEY=kes:v1:... node examples/webcrypto/request.mjs METHOD URL [BODY]
import { signer } from "./sign.mjs";

const [method, url, body = ""] = process.argv.slice(2);
const key = process.env.KES_API_KEY;
if (!url || !key) {
  console.error("usage: KES_API_KEY=kes:v1:... node request.mjs METHOD URL [BODY]");
  process.exit(2);
}
const sign = await signer(key);
const headers = await sign(method, url, body);
const answer = await fetch(url, { method, headers, body: body || undefined });
const text = await answer.text();
if (text) console.log(text.trimEnd());
if (!answer.ok) {
  console.error(`HTTP ${answer.status}`);
  process.exitCode = 1;
}
