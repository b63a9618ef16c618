// Signs requests to sealedge with WebCrypto: in Workers, Node, Deno, Bun and browsers, with nothing installed.
const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const decode = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const join = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
const bytes = (data) => (typeof data === "string" ? new TextEncoder().encode(data) : data);

// A function that gives the headers to send with a request, by an API key. A body is a string or a Uint8Array.
export async function signer(apiKey) {
  const [, base64] = /^\s*kes:v1:([A-Za-z0-9+/]{44})\s*$/.exec(apiKey) ?? [];
  if (!base64) throw new TypeError("an API key is kes:v1: and 44 characters of base64");
  const pkcs8 = join(decode("MC4CAQAwBQYDK2VwBCIEIA=="), decode(base64).slice(1));
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const publicKey = decode(x.replaceAll("-", "+").replaceAll("_", "/"));
  const keyid = encode(join(decode("MCowBQYDK2VwAyEA"), publicKey));

  return async (method, url, body = "") => {
    const { host, pathname, search } = new URL(url);
    const covered = [["@method", method.toUpperCase()], ["@authority", host], ["@path", pathname]];
    const headers = {};
    if (search) covered.push(["@query", search]);
    if (body.length) {
      const digest = await crypto.subtle.digest("SHA-256", bytes(body));
      headers["content-digest"] = `sha-256=:${encode(digest)}:`;
      covered.push(["content-digest", headers["content-digest"]]);
    }
    const names = covered.map(([name]) => `"${name}"`).join(" ");
    const created = Math.floor(Date.now() / 1000);
    const nonce = encode(crypto.getRandomValues(new Uint8Array(16)));
    const params = `(${names});created=${created};nonce="${nonce}";alg="ed25519";keyid="${keyid}";tag="sealedge"`;
    const base = [...covered, ["@signature-params", params]].map(([name, value]) => `"${name}": ${value}`);
    const signature = await crypto.subtle.sign("Ed25519", key, bytes(base.join("\n")));
    headers["signature-input"] = `sealedge=${params}`;
    headers["signature"] = `sealedge=:${encode(signature)}:`;
    return headers;
  };
}
